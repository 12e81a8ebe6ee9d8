"""An .npz file whose bytes depend only on its content.

Entries are stored without compression: compressors differ between machines, and an array can be read without the others.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from ofa_core.run import files
from ofa_core.run.errors import InputError


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays, in their order, completely or not at all."""
    with files.replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            # Fixed time and system: by default they depend on the machine.
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            entry.file_size = array.nbytes  # lets zipfile choose the 64-bit form
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)


@contextmanager
def reading_arrays(path: str | Path) -> Iterator[NpzFile]:
    """The open file; an array is read when it is asked for.

    Raises InputError that names the file if it does not exist, or if the block finds it broken or without an array.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a packed data set: {str(error).splitlines()[0]}") from None
