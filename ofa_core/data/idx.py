"""IDX, the array format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist/), gzip-compressed."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np


def read_idx(path: str | Path) -> np.ndarray:
    """The array of a .gz IDX file of unsigned bytes: uint8, with the axes the file gives.

    Raises ValueError that names the file: missing, not gzip, truncated, not IDX, more or fewer bytes than its header says.
    """
    return parse_idx(unzip(path), path)


def unzip(path: str | Path) -> bytes:
    """The whole content of a .gz file. Raises ValueError that names the file."""
    try:
        return gzip.decompress(Path(path).read_bytes())
    except EOFError:
        raise ValueError(f"{path}: truncated gzip file") from None
    except (OSError, zlib.error) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or f'not a gzip file ({error})'}") from None


def parse_idx(content: bytes, path: str | Path) -> np.ndarray:
    """The array of IDX bytes; path: for messages. Raises ValueError."""
    # Header: two zero bytes, the type (8: unsigned byte), the number of axes, then each axis as a big-endian uint32.
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: not an IDX file of unsigned bytes")
    axes = content[3]
    start = 4 + 4 * axes
    if not axes or len(content) < start:
        raise ValueError(f"{path}: truncated IDX header")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", axes, 4))
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{path}: {len(content) - start} bytes of data, the header says {math.prod(shape)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
