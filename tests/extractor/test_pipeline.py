from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extractor.chunks import CHUNK, FIRST_CHUNK
from extractor.image_policy_table import IMAGE_POLICIES
from extractor.input_kind import InputKind
from extractor.limits import MAX_FILE_BYTES
from extractor.pipeline import DecodePipeline, Outcomes
from tests.extractor.plain import decode

pytestmark = pytest.mark.slow

SIZE = 32
Photo = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]


def grant_all(digests: Sequence[bytes]) -> list[bool]:
    return [True] * len(digests)


class OncePerDigest:
    """A claim callback that grants each digest once, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._granted: set[bytes] = set()

    def __call__(self, digests: Sequence[bytes]) -> list[bool]:
        answers = []
        for digest in digests:
            self.asked.append(digest)
            answers.append(digest not in self._granted)
            self._granted.add(digest)
        return answers


def run(
    paths: Sequence[Path], claim: Callable[[Sequence[bytes]], list[bool]] = grant_all, batch_size: int = 4, policy: str = "image-v1"
) -> tuple[dict[int, npt.NDArray[np.uint8]], Outcomes, list[list[int]]]:
    """(image by position, outcomes, positions of each batch)."""
    pipeline = DecodePipeline([str(path) for path in paths], claim, [InputKind(SIZE, policy)], batch_size, threads=2)
    images: dict[int, npt.NDArray[np.uint8]] = {}
    batches = []
    for positions, [batch] in pipeline.batches():
        assert batch.shape == (len(positions), SIZE, SIZE, 3)
        assert not images.keys() & set(positions)
        images.update(zip(positions, batch.numpy(), strict=True))
        batches.append(positions)
    return images, pipeline.outcomes, batches


@pytest.fixture
def files(tmp_path: Path, photo: Photo, encode: Encode) -> Callable[[Sequence[str]], list[Path]]:
    """Write one file a kind: good (all different), same (one image), png, corrupt, text, empty, missing, folder."""

    def write(kinds: Sequence[str]) -> list[Path]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        paths = []
        for i, kind in enumerate(kinds):
            path = folder / f"{i:04d}.jpg"
            paths.append(path)
            if kind in ("good", "corrupt", "png"):
                encoded = encode(photo(40, 50, seed=i), "PNG" if kind == "png" else "JPEG")
                path.write_bytes(encoded[: len(encoded) // 2] if kind == "corrupt" else encoded)
            elif kind == "same":
                path.write_bytes(encode(photo(40, 50, seed=1000), "JPEG"))
            elif kind in ("text", "empty"):
                path.write_text("a shopping list" if kind == "text" else "")
            elif kind == "folder":
                path.mkdir()
        return paths

    return write


def test_no_files_give_no_batches() -> None:
    assert run([]) == ({}, Outcomes([]), [])


def test_good_files_become_images_of_the_policy(files: Callable[..., list[Path]]) -> None:
    paths = files(["good", "png", "good"])
    images, outcomes, _ = run(paths)
    assert sorted(images) == list(outcomes.claimed) == [0, 1, 2]
    for position, path in enumerate(paths):
        assert np.abs(images[position].astype(int) - decode(path.read_bytes(), SIZE)).max() <= 1
    assert outcomes.digests == [hashlib.sha256(path.read_bytes()).digest() for path in paths]
    assert outcomes.bytes_read == sum(path.stat().st_size for path in paths)
    assert (outcomes.read, outcomes.rejects) == (3, {})


@pytest.mark.parametrize("policy", IMAGE_POLICIES)
def test_all_files_are_decoded_by_the_policy_that_is_named(tmp_path: Path, photo: Photo, encode: Encode, policy: str) -> None:
    paths = [tmp_path / "by-tensorflow.jpg", tmp_path / "by-pillow.png"]
    for path, format_name in zip(paths, ("JPEG", "PNG"), strict=True):
        path.write_bytes(encode(photo(200, 200, noise=60), format_name))
    images, _, _ = run(paths, policy=policy)
    for position, path in enumerate(paths):
        for name in IMAGE_POLICIES:
            difference = np.abs(images[position].astype(int) - decode(path.read_bytes(), SIZE, name)).max()
            assert difference <= 1 if name == policy else difference > 10


def test_every_position_has_exactly_one_outcome(files: Callable[..., list[Path]]) -> None:
    paths = files(["good", "corrupt", "missing", "same", "empty", "text", "same", "folder", "png", "same", "good"])
    images, outcomes, _ = run(paths, OncePerDigest())
    assert sorted(images) == [0, 3, 8, 10]
    assert {position: reason for position, (reason, _) in sorted(outcomes.rejects.items())} == {
        1: "corrupt",
        2: "unreadable",
        4: "empty",
        5: "not-an-image",
        7: "unreadable",
    }
    elsewhere = {i for i in range(len(paths)) if i not in images and i not in outcomes.rejects}
    assert elsewhere == {6, 9}
    assert [outcomes.digests[i] is None for i in range(len(paths))] == [i in (2, 7) for i in range(len(paths))]
    assert outcomes.read == 9
    assert all(message for _, message in outcomes.rejects.values())


KINDS = st.sampled_from(["good", "same", "png", "corrupt", "missing", "empty", "text"])


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(KINDS, max_size=12), st.integers(1, 5))
def test_outcomes_do_not_depend_on_the_neighbours(files: Callable[..., list[Path]], kinds: list[str], batch_size: int) -> None:
    images, outcomes, batches = run(files(kinds), batch_size=batch_size)
    for position, kind in enumerate(kinds):
        assert (position in images) == (kind in ("good", "same", "png"))
        assert (position in outcomes.rejects) == (position not in images)
    assert all(1 <= len(batch) <= batch_size for batch in batches)


def test_what_is_not_claimed_is_not_decoded(files: Callable[..., list[Path]]) -> None:
    paths = files(["good", "corrupt", "good", "text"])
    images, outcomes, _ = run(paths, lambda digests: [False] * len(digests))
    assert (images, outcomes.rejects, list(outcomes.claimed)) == ({}, {}, [])
    assert outcomes.read == 4
    assert None not in outcomes.digests


def test_the_claim_decides_file_by_file(files: Callable[..., list[Path]]) -> None:
    paths = files(["good"] * 6)
    wanted = {hashlib.sha256(paths[i].read_bytes()).digest() for i in (1, 4)}
    images, outcomes, _ = run(paths, lambda digests: [digest in wanted for digest in digests])
    assert sorted(images) == list(outcomes.claimed) == [1, 4]


def test_digests_are_claimed_in_order_and_only_of_what_was_read(files: Callable[..., list[Path]]) -> None:
    claim = OncePerDigest()
    _, outcomes, _ = run(files(["good", "missing", "same", "empty", "same"]), claim)
    assert claim.asked == [digest for digest in outcomes.digests if digest]


@pytest.mark.parametrize(
    ("n", "batch_size"), [(31, 1), (FIRST_CHUNK, 8), (33, 200), (FIRST_CHUNK + CHUNK + 3, 8), (FIRST_CHUNK + CHUNK, 1)]
)
def test_more_files_than_a_chunk_come_in_ascending_order(files: Callable[..., list[Path]], n: int, batch_size: int) -> None:
    paths = files(["good"]) * n
    images, outcomes, batches = run(paths, batch_size=batch_size)
    assert [position for batch in batches for position in batch] == list(range(n))
    assert [len(batch) for batch in batches] == [batch_size] * (n // batch_size) + ([n % batch_size] if n % batch_size else [])
    assert outcomes.read == len(images) == n


@pytest.mark.parametrize(("files_at_once", "bytes_at_once"), [(1, 1 << 20), (3, 1 << 20), (16, 1), (16, 3000)])
def test_outcomes_do_not_depend_on_how_files_are_handed_to_tensorflow(
    files: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch, files_at_once: int, bytes_at_once: int
) -> None:
    paths = files(["good", "png", "corrupt", "good", "text", "good", "png", "good"])
    expected, outcomes, _ = run(paths)
    monkeypatch.setattr("extractor.pipeline.PIECE", files_at_once)
    monkeypatch.setattr("extractor.pipeline.PIECE_BYTES", bytes_at_once)
    found, same, _ = run(paths)
    assert found.keys() == expected.keys()
    assert all((found[position] == image).all() for position, image in expected.items())
    assert (same.rejects, same.digests, same.claimed) == (outcomes.rejects, outcomes.digests, outcomes.claimed)


def test_positions_ascend_where_files_fail_in_between(files: Callable[..., list[Path]]) -> None:
    paths = files(["good", "corrupt", "good", "missing"]) * 12
    _images, outcomes, batches = run(paths)
    assert [position for batch in batches for position in batch] == list(range(0, 48, 2))
    assert len(outcomes.rejects) == 24


class StoreIsGoneError(Exception):
    pass


@pytest.mark.parametrize("calls_before", [0, 1])
def test_an_error_in_the_claim_is_raised_to_the_caller(files: Callable[..., list[Path]], calls_before: int) -> None:
    calls: list[int] = []

    def claim(digests: Sequence[bytes]) -> list[bool]:
        calls.append(len(digests))
        if len(calls) > calls_before:
            raise StoreIsGoneError("no answer")
        return [True] * len(digests)

    with pytest.raises(StoreIsGoneError, match="no answer"):
        run(files(["good"]) * (2 * CHUNK + 1), claim)


def test_a_claim_that_answers_too_little_is_an_error(files: Callable[..., list[Path]]) -> None:
    with pytest.raises(ValueError, match="zip"):
        run(files(["good", "good"]), lambda digests: [True])


def test_a_huge_file_is_too_large_without_being_read(tmp_path: Path) -> None:
    with open(tmp_path / "huge.jpg", "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    _, outcomes, _ = run([tmp_path / "huge.jpg"])
    assert outcomes.rejects[0][0] == "too-large"
    assert (outcomes.read, outcomes.digests) == (0, [None])


def test_a_file_that_changed_before_its_second_chance_is_told(files: Callable[..., list[Path]]) -> None:
    [path] = files(["corrupt"])

    def claim(digests: Sequence[bytes]) -> list[bool]:
        path.write_bytes(b"something else")
        return [True]

    assert run([path], claim)[1].rejects[0][0] == "changed"


def reading_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")}


def test_leaving_early_leaves_no_thread_behind(files: Callable[..., list[Path]]) -> None:
    paths = files(["good"]) * (4 * CHUNK)
    before = reading_threads()
    batches = DecodePipeline([str(path) for path in paths], grant_all, [InputKind(SIZE)], 4, threads=2).batches()
    next(iter(batches))
    batches.close()  # type: ignore[attr-defined]
    del batches
    for thread in reading_threads() - before:
        thread.join(timeout=10)
    assert reading_threads() <= before
