"""Turning what readers raise on damaged files into one error that names the file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from storage.errors import DamagedError, PermafrostError
from storage.patience import OUTAGES
from storage.place import Place

# Found by flipping bytes: Arrow raises its own errors for some damage, and Python's for what it trips over later; h5py has RuntimeError.
_SYMPTOMS = (pa.ArrowException, OSError, RuntimeError, ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError)
_SYMPTOMS_OF_ZIPS = (zipfile.BadZipFile, zlib.error, EOFError)  # npz files
MEND = "`permafrost store repair` takes it from a copy of the store (--from ROOT), or gives up what it holds (--give-up)"
MEND_LISTED = f"{MEND}; older versions that list it stay as they are until `permafrost store expire`"


@contextmanager
def damage_named(path: Place | str, what: str) -> Iterator[None]:
    """Raise DamagedError for `what` at `path` (or URI) if reading it, inside, fails in any of the ways that damage shows."""
    try:
        yield
    except (PermafrostError, ConnectionError):  # a store that cannot be reached says nothing of its files
        raise
    except FileNotFoundError:
        raise DamagedError(f"the {what} {path} is listed but is not there. {MEND_LISTED}") from None
    except (*_SYMPTOMS, *_SYMPTOMS_OF_ZIPS) as error:
        raise DamagedError(f"the {what} {path} is damaged ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})") from None


def raise_outage(error: Exception) -> None:
    """What cannot be reached is not damaged: a repair would give it up."""
    if isinstance(error, ConnectionError) or (isinstance(error, OSError) and error.errno in OUTAGES):
        raise error
