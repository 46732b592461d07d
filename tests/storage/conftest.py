"""What the tests of `storage` share: small real sets, writers in processes of their own, an S3 server."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from scripts.made_set import MadeSet, made_space, new_set
from storage.names import SetName
from storage.space import Space

PROCESS = Path(__file__).parent / "writer_process.py"


class Process:
    """A writer in a process of its own (writer_process.py), steered by lines on its stdin and stdout."""

    def __init__(self, arguments: Sequence[object]) -> None:
        command = [sys.executable, str(PROCESS), *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_for(self, line: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == line

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def lines(self) -> list[str]:
        """What else it prints until its end."""
        out, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        return out.split()

    def kill(self) -> None:
        """SIGKILL: no handler, no clean-up."""
        self._process.kill()
        self._process.communicate(timeout=60)


@pytest.fixture(scope="session")
def make_space() -> Callable[..., Space]:
    return made_space


@pytest.fixture(scope="session")
def make_set(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., MadeSet]:
    """Makes a set without versions, in a new store unless `root` is given."""
    numbers = itertools.count()
    base = tmp_path_factory.mktemp("stores")

    def make(
        shape: tuple[int, ...] = (3,),
        dtype: str = "float16",
        shard_format: str = "parquet",
        root: Path | None = None,
        team: str = "team",
        name: str = "set",
        pooling: str = "avg",
        views: tuple[str, ...] = ("plain",),
        view_seed: int | None = None,
    ) -> MadeSet:
        set_name = SetName(root or base / f"store-{next(numbers)}", team, name)
        return new_set(set_name, made_space(dtype=dtype, pooling=pooling, views=views, view_seed=view_seed), shard_format, shape)

    return make


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts writer processes, and ends those that are left."""
    started: list[Process] = []

    def start_one(*arguments: object) -> Process:
        started.append(Process(arguments))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server."""
    from scripts.s3_server import serve  # only some of the tests need it, and it takes half a second

    with serve() as address:
        yield address


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERMAFROST_CACHE", str(tmp_path / "cache"))
