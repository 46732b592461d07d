"""Where a file or folder of a store is: a path on a disk or network folder, or a key of a remote store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Backend(Protocol):
    """What keeps the bytes of a store. Keys are `/`-separated, without a leading slash; a reader finds all bytes of one, or none.

    A missing key raises FileNotFoundError. Other failures are OSError where they may pass, PermafrostError where they will not.
    """

    @property
    def url(self) -> str:
        """What messages call it; a key is appended after a slash."""
        ...

    def read(self, key: str) -> bytes: ...

    def chunks(self, key: str) -> Iterator[bytes]:
        """The bytes in pieces of some MiB."""
        ...

    def size(self, key: str) -> int | None:
        """In bytes; None if there is no such file."""
        ...

    def modified(self, key: str) -> float:
        """When it was written, by the backend's own clock, in seconds since 1970."""
        ...

    def names(self, key: str) -> list[str]:
        """Files and folders right in this folder; none where there is no such folder."""
        ...

    def folders(self, key: str) -> list[str]:
        """Of these, the folders."""
        ...

    def create(self, key: str, data: bytes) -> None:
        """Raises AlreadyExistsError if the key is taken, whoever took it and however close the race was."""
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Create, or replace what is there."""
        ...

    def upload(self, source: Path, key: str) -> None:
        """A local file, which is not moved; what is there is replaced."""
        ...

    def remove(self, key: str) -> None:
        """No error if it is not there."""
        ...


@dataclass(frozen=True)
class RemotePlace:
    """A key of a store that is no local folder. The few operations of `Path` that go without asking anybody."""

    backend: Backend
    key: str = ""

    def __truediv__(self, name: str) -> RemotePlace:
        return RemotePlace(self.backend, f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0] or self.name

    @property
    def parent(self) -> RemotePlace:
        return RemotePlace(self.backend, self.key.rpartition("/")[0])

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.key.split("/"))

    def __str__(self) -> str:
        return f"{self.backend.url}/{self.key}" if self.key else self.backend.url


Place = Path | RemotePlace


def same_place(one: Place, other: Place) -> bool:
    return (one.resolve() if isinstance(one, Path) else one) == (other.resolve() if isinstance(other, Path) else other)
