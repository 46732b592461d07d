"""Damaged TIFFs without a word on stderr: each file has an outcome, and hundreds of lines of libtiff bury what is said of it."""

from __future__ import annotations

import ctypes
from pathlib import Path

import PIL
from PIL import Image  # noqa: F401 - loads libtiff


def quiet_libtiff() -> None:
    """Take libtiff's error handler away. Pillow itself only takes the one for warnings (its `ImagingLibTiffDecode`).

    The library is the one that comes inside Pillow's wheels; another one, of a distribution's Pillow, goes on talking.
    """
    for library in (Path(PIL.__file__).parents[1] / "pillow.libs").glob("libtiff-*.so*"):
        ctypes.CDLL(str(library)).TIFFSetErrorHandler(ctypes.c_void_p(None))
