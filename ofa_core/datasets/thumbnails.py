"""Small square versions of the images of a set, kept in a temporary file: 3 KB each, and sets may have millions."""

import tempfile

import numpy as np
from PIL import Image

SIDE = 32
"""Height and width of a thumbnail in pixels."""
BYTES = SIDE * SIDE * 3


def thumbnail(image: Image.Image) -> np.ndarray:
    """The whole image squeezed to a square, uint8 (32, 32, 3), so that a copy with another aspect ratio has the same one."""
    return np.array(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0))


class Thumbnails:
    """Thumbnails on disk, indexed like an array uint8 (N, 32, 32, 3) by slices and by arrays of int."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # deleted with the object
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, thumbnail: np.ndarray) -> None:
        """Adds a thumbnail uint8 (32, 32, 3) at the end."""
        self._file.seek(self._count * BYTES)
        self._file.write(thumbnail.tobytes())
        self._count += 1

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        places = np.arange(self._count)[index]
        found = np.empty((len(places), SIDE, SIDE, 3), np.uint8)
        for i, place in enumerate(places.tolist()):
            self._file.seek(place * BYTES)
            found[i] = np.frombuffer(self._file.read(BYTES), np.uint8).reshape(SIDE, SIDE, 3)
        return found
