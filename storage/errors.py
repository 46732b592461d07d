"""Every error a user can meet, as one small family.

PermafrostError                      what a command prints and exits 1 for
├── UsageError        (ValueError)          the request itself is wrong: exit 2
├── NotFoundError     (FileNotFoundError)   a store, set, version, folder or file is not there
├── AlreadyExistsError (FileExistsError)    a name that may be created once is taken
├── SpaceMismatchError                      features of two spaces would meet
├── DriftError                              same space, but values outside the tolerance
├── DivergedError     (ArithmeticError)     training gave no numbers
├── CodeMismatchError                       a worker runs other code or libraries than the driver
├── ConflictError                           another writer changed what this one builds on
├── DamagedError                            a file is not what its manifest says
└── RunError                                a run stopped before its end
    ├── RunCancelledError                   ... because somebody asked it to
    ├── DiskFullError                       ... because there is no room to write
    ├── UnstorableError                     ... because a set's features cannot be stored
    └── HungError                           ... because a thread hangs, which the program must not wait for
"""

from __future__ import annotations


class PermafrostError(Exception):
    """Base of all errors that are told in words, never as a traceback."""


class UsageError(PermafrostError, ValueError):
    """The request is wrong in itself: a bad name, option or combination."""


class NotFoundError(PermafrostError, FileNotFoundError):
    """Something named in the request does not exist."""


class AlreadyExistsError(PermafrostError, FileExistsError):
    """A name that can be created only once exists already."""


class SpaceMismatchError(PermafrostError):
    """Features of two feature spaces were about to be mixed."""


class DriftError(PermafrostError):
    """Golden images embed differently here than when the set was made."""


class DivergedError(PermafrostError, ArithmeticError):
    """Training was asked for rightly and came to no numbers."""


class CodeMismatchError(PermafrostError):
    """A worker's code, or a library that decides values, is not the driver's."""


class ConflictError(PermafrostError):
    """Another writer changed what this commit was computed from."""


class DamagedError(PermafrostError):
    """A file's size, checksum or structure is not what was recorded."""


class RunError(PermafrostError):
    """A run was stopped before it could finish."""


class RunCancelledError(RunError):
    """A run was stopped by `permafrost runs cancel`."""


class DiskFullError(RunError):
    """The disk or the quota is full: no unit could be stored."""


class UnstorableError(RunError):
    """Known good images gave no embedding that can be kept. number: of the set in the run."""

    def __init__(self, message: str, number: int = 0) -> None:  # the default is for pickle, which sets the number afterwards
        super().__init__(message)
        self.number = number


class HungError(RunError):
    """A thread of this process hangs: whoever ends the process must not wait for its threads."""
