"""Imports without packages that others import only because they happen to be installed, and without looks for garbage.

TensorFlow's converter to LiteRT imports JAX, Keras' wrappers import scikit-learn, and that SciPy and pandas, as the first array of pyarrow
does; all of them do without, and nothing of ours uses what is lost. Importing TensorFlow and Keras then takes 3.3 s of CPU for 5.0 on two
cores, and 581 MiB for 800 (medians of three in turn).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import FrameType, ModuleType

_OURS = frozenset({"extractor", "scripts", "storage", "trainer"})  # whose calls of pyarrow import
_TENSORFLOW = frozenset({"keras", "tensorflow"})
SPARED = {"jax": _TENSORFLOW, "pandas": _TENSORFLOW | _OURS, "scipy": _TENSORFLOW, "sklearn": _TENSORFLOW}  # to whom


def import_lean() -> None:
    """From now on, in this process. For programs of ours alone: a user's own may want Keras or pyarrow with pandas."""
    if not any(isinstance(finder, _LeanFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _LeanFinder())


@contextmanager
def keeping_all() -> Iterator[None]:
    """What is imported within stays for good: Python looks through it for garbage neither meanwhile nor later (`gc.freeze`).

    TensorFlow and Keras are hundreds of thousands of objects, and Python looks through them again and again while they come: 1.95 s for 2.5
    (medians of five in turn, others at work). For programs of ours alone, as above.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class _LeanFinder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Raises ModuleNotFoundError, as where it is not installed; None leaves it to those who find modules."""
        if name in SPARED and _importer() in SPARED[name] and name != os.environ.get("KERAS_BACKEND"):
            raise ModuleNotFoundError(f"{name} is spared to {_importer()}", name=name)


def _importer() -> str:
    """The package whose code has the import, or called pyarrow's, which has it."""
    frame: FrameType | None = sys._getframe(2)
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in ("importlib", "pyarrow"):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] if frame else ""
