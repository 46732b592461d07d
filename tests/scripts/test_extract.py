"""What `permafrost extract` says of a run: every number says what it counts."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import draw
from tests.extractor.containers import write_tar
from tests.extractor.warm import keep_workers_warm
from tests.scripts.conftest import SMALL_START, Said

pytestmark = pytest.mark.slow

BACKBONE = [*SMALL_START, "--dtype", "float32", "--local"]
ALSO = ["--also", "s/t/max,pooling=max"]


@pytest.fixture(autouse=True)
def warm_local_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_workers_warm(monkeypatch)


@pytest.fixture
def told(say: Said) -> Callable[..., list[dict[str, str]]]:
    """told(*words): of each set of a run, what is said of it by name."""

    def run(*words: object) -> list[dict[str, str]]:
        code, out, err = say("extract", *words, *BACKBONE)
        assert code in (0, 3), err
        return [{line[:15].strip(): line[15:].strip() for line in block.splitlines()} for block in out.split("\n\n")]

    return run


Told = Callable[..., list[dict[str, str]]]


def test_a_run_of_several_sets(told: Told, make_corpus: Callable[..., Path]) -> None:
    first, further = told(make_corpus(6), "s/t/avg", *ALSO, "--price", "1000000")
    assert first["work"] == "6 files read once for all 2 sets, 6 images decoded, 6 embedded, 0 rows reused"
    assert further["work"] == "read and decoded with the first set, 6 embedded, 0 rows reused"
    assert first["files were"] == further["files were"] == "6 new"
    assert first["cost"].endswith(" for all 2 sets")
    assert "cost" not in further


def test_a_dry_run_of_several_sets(told: Told, make_corpus: Callable[..., Path]) -> None:
    first, further = told(make_corpus(6), "s/t/avg", *ALSO, "--price", "1", "--dry-run")
    assert first["would read"].startswith("6 files once for all 2 sets, ")
    assert first["for this set"] == further["for this set"] == "6 of 6 images"
    assert "for all 2 sets" in first["time"]
    assert "for all 2 sets" in first["price"]
    assert not {"would read", "time", "price"} & further.keys()


def test_files_that_could_not_be_read_are_no_riddle(told: Told, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    corpus = make_corpus(2)
    for name in ("large.png", "larger.png"):
        (corpus / name).write_bytes(bytes(20_000))
    [said] = told(corpus, "s/t/avg", "--max-bytes", "10000")
    assert said["work"] == "2 of 4 files read, 2 images decoded, 2 embedded, 0 rows reused"
    assert said["files were"] == "2 new, 2 rejected"
    assert "keys" not in said


def test_what_happened_to_keys_is_told(told: Told, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    corpus = make_corpus(6)
    paths = sorted(path.relative_to(tmp_path).as_posix() for path in corpus.rglob("*.*g"))
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *[f"{path},a" for path in paths]]))
    [said] = told("list.csv", "s/t/avg")
    assert not {"keys", "cost"} & said.keys()
    (tmp_path / paths[0]).write_bytes(draw(77, format_name="PNG" if paths[0].endswith("png") else "JPEG"))
    shutil.copy(tmp_path / paths[2], tmp_path / "copy.png")
    (tmp_path / "list.csv").write_text(
        "\n".join(["path,label", *[f"{path},{'ab'[i == 2]}" for i, path in enumerate(paths[:-1])], "copy.png,a"])
    )
    [said] = told("list.csv", "s/t/avg", "--price", "0")
    assert said["keys"] == "1 new, 1 changed, 1 deleted, 1 relabelled"
    assert said["files were"] == "1 new, 1 duplicate"
    assert said["cost"] == "0.00"
    [said] = told("list.csv", "s/t/avg")
    assert not {"keys", "files were", "cost"} & said.keys()


def test_a_container_that_lost_nobody_knows_how_many_images_is_no_complete_corpus(say: Said, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tar(tmp_path / "tars" / f"{name}.tar", {f"{name}{i}.png": draw(i, format_name="PNG") for i in range(200)})
    whole = (tmp_path / "tars" / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "tars" / "b.tar") as tar:
        header = tar.getmembers()[100].offset
    (tmp_path / "tars" / "b.tar").write_bytes(whole[:header] + b"\xff" * 512 + whole[header + 512 :])
    code, out, err = say("extract", "tars", "s/t/n", *BACKBONE, "--max-rejects", "100%")
    assert code == 3
    assert "1 bad-container" in out
    assert "1 damaged container: nobody knows how many images went with them (permafrost store rejects s/t/n)" in err
