"""Units decoded with helpers: the same images, digests, claims and rejects as without, whatever becomes of the helpers."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from extractor.decode_helper import DecodedFiles, HelperLostError, ReadFiles
from extractor.decode_stream import DecodeStream
from extractor.decoding_helper import DecodingHelper
from extractor.helped_pipeline import HelpedPipeline
from extractor.helper_pool import HelperPool
from extractor.input_kind import InputKind
from extractor.limits import DEFAULT_LIMITS
from extractor.pipeline import DecodePipeline, Outcomes
from extractor.views import ViewPolicy, parse_view

KINDS = [InputKind(32, views=ViewPolicy((parse_view("flip"),))), InputKind(24, "keras-v1")]
BATCH, THREADS = 4, 1
Photo = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]
Images = dict[int, list[npt.NDArray[np.uint8]]]


class Register:
    """Grants each digest once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.granted: set[bytes] = set()

    def __call__(self, digests: Sequence[bytes]) -> list[int]:
        with self._lock:
            bits = []
            for digest in digests:
                bits.append(int(digest not in self.granted))
                self.granted.add(digest)
            return bits


class Wrapped:
    """A helper that does what another one does."""

    def __init__(self, inner: DecodingHelper) -> None:
        self.inner, self.decoded = inner, 0

    def prepare(self) -> None:
        self.inner.prepare()

    def read(self, *args: Any) -> ReadFiles:
        return self.inner.read(*args)

    def decode(self, *args: Any) -> DecodedFiles:
        self.decoded += 1
        return self.inner.decode(*args)


class LostAtRead(Wrapped):
    def read(self, *args: Any) -> ReadFiles:
        raise HelperLostError("gone", for_good=True)


class LostAtDecode(Wrapped):
    """What it read is claimed by then."""

    def decode(self, *args: Any) -> DecodedFiles:
        super().decode(*args)
        raise HelperLostError("gone", for_good=self.decoded > 2)


class Hanging(Wrapped):
    """Until the test is over."""

    def __init__(self, inner: DecodingHelper, over: threading.Event, at_read: bool) -> None:
        super().__init__(inner)
        self._over, self._at_read = over, at_read

    def read(self, *args: Any) -> ReadFiles:
        if self._at_read:
            self._over.wait()
        return super().read(*args)

    def decode(self, *args: Any) -> DecodedFiles:
        found = super().decode(*args)
        self._over.wait()
        return found


class Once(Hanging):
    """From its second chunk on."""

    def __init__(self, inner: DecodingHelper, over: threading.Event) -> None:
        super().__init__(inner, over, at_read=False)

    def decode(self, *args: Any) -> DecodedFiles:
        return super().decode(*args) if self.decoded else Wrapped.decode(self, *args)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, photo: Photo, encode: Encode) -> list[str]:
    """JPEGs, PNGs, copies, and rejects of several reasons."""
    folder = tmp_path_factory.mktemp("files")
    kinds = [("JPEG", "PNG", "copy", "JPEG", "corrupt", "missing", "JPEG", "text")[i % 8] for i in range(64)]
    for i, kind in enumerate(kinds):
        path = folder / f"{i:03d}"
        if kind == "text":
            path.write_text("a shopping list")
        elif kind != "missing":
            encoded = encode(photo(40, 50, seed=i - 2 if kind == "copy" else i), "PNG" if kind == "PNG" else "JPEG")
            path.write_bytes(encoded[: len(encoded) // 2] if kind == "corrupt" else encoded)
    return [str(folder / f"{i:03d}") for i in range(64)]


@pytest.fixture(scope="module")
def stream() -> DecodeStream:
    return DecodeStream(KINDS, BATCH, THREADS, DEFAULT_LIMITS.pixels)


@pytest.fixture(scope="module")
def helper() -> DecodingHelper:
    return DecodingHelper(THREADS)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.shared_unit.CHUNK", 4)
    monkeypatch.setattr("extractor.helped_pipeline.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("extractor.helper_pool.FIRST_PAUSE", 0.01)


@pytest.fixture
def over() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def images_of(pipeline: DecodePipeline | HelpedPipeline) -> Images:
    found: Images = {}
    for positions, of_kinds in pipeline.batches():
        assert 1 <= len(positions) <= BATCH
        for kind, of_kind in zip(KINDS, of_kinds, strict=True):
            assert of_kind.shape == (len(positions) * kind.views.count, kind.size, kind.size, 3)
        for i, position in enumerate(positions):
            assert position not in found
            found[position] = [
                of_kind.numpy()[i * kind.views.count : (i + 1) * kind.views.count] for kind, of_kind in zip(KINDS, of_kinds, strict=True)
            ]
    return found


def helped(files: Sequence[str], pool: HelperPool, stream: DecodeStream, claim: Any = None) -> HelpedPipeline:
    return HelpedPipeline(files, claim or Register(), KINDS, THREADS, DEFAULT_LIMITS, None, stream, pool)


def by_digest(images: Images, outcomes: Outcomes) -> dict[bytes | None, list[bytes]]:
    """Which copy is decoded is up to who comes first."""
    return {outcomes.digests[position]: [views.tobytes() for views in of_kinds] for position, of_kinds in images.items()}


@pytest.fixture(scope="module")
def alone(files: list[str], stream: DecodeStream) -> tuple[Images, Outcomes]:
    pipeline = DecodePipeline(files, Register(), KINDS, BATCH, THREADS, stream=stream)
    return images_of(pipeline), pipeline.outcomes


def rejects_of(outcomes: Outcomes) -> set[tuple[object, tuple[str, str]]]:
    """By digest, as which of the copies of a bad image is tried is up to the same."""
    return {(outcomes.digests[position] or position, reject) for position, reject in outcomes.rejects.items()}


def require_same(images: Images, outcomes: Outcomes, alone: tuple[Images, Outcomes]) -> None:
    expected, told = alone
    assert by_digest(images, outcomes) == by_digest(expected, told)
    assert len(images) == len(expected)
    assert outcomes.digests == told.digests
    assert rejects_of(outcomes) == rejects_of(told)
    assert outcomes.claimed.keys() == images.keys() | {p for p in outcomes.rejects if outcomes.digests[p]}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["well", "lost-at-read", "lost-at-decode", "hangs-at-read", "hangs-at-decode"])
def test_a_unit_is_the_same_with_helpers(
    how: str,
    files: list[str],
    stream: DecodeStream,
    helper: DecodingHelper,
    alone: tuple[Images, Outcomes],
    over: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("extractor.helped_pipeline.LATE_SECONDS", 0.05 if how.startswith("hangs") else 60)
    helpers = {
        "well": [Wrapped(helper)],
        "lost-at-read": [LostAtRead(helper), Wrapped(helper)],
        "lost-at-decode": [LostAtDecode(helper)],
        "hangs-at-read": [Hanging(helper, over, at_read=True)],
        "hangs-at-decode": [Hanging(helper, over, at_read=False)],
    }[how]
    pool = HelperPool(helpers)
    pipeline = helped(files, pool, stream)
    images = images_of(pipeline)
    require_same(images, pipeline.outcomes, alone)
    if not how.startswith("hangs"):
        assert pool.in_flight == 0
        assert pipeline.outcomes.read == alone[1].read
        assert pipeline.outcomes.bytes_read == alone[1].bytes_read
    if how == "well":
        assert 0 < pipeline.outcomes.helped < len(images)
        assert {"help_read", "help_decode", "read", "decode", "wait_claim"} <= pipeline.outcomes.seconds.keys()
    pool.close()


def test_what_is_granted_to_nobody_here_is_not_decoded(files: list[str], stream: DecodeStream, helper: DecodingHelper) -> None:
    wrapped = Wrapped(helper)
    pool = HelperPool([wrapped])
    pipeline = helped(files, pool, stream, lambda digests: [0] * len(digests))
    assert images_of(pipeline) == {}
    assert (pipeline.outcomes.claimed, wrapped.decoded) == ({}, 0)
    assert sum(digest is not None for digest in pipeline.outcomes.digests) == pipeline.outcomes.read == 56
    pool.close()


class StoreIsGoneError(Exception):
    pass


def test_an_error_of_a_claim_for_a_helper_is_raised(files: list[str], stream: DecodeStream, helper: DecodingHelper) -> None:
    """Nothing is claimed afterwards, when the unit may be somebody else's."""
    calls: list[float] = []

    def claim(digests: Sequence[bytes]) -> list[int]:
        time.sleep(0.02)
        calls.append(time.monotonic())
        if threading.current_thread().name == "permafrost-helper":
            raise StoreIsGoneError("no answer")
        return [1] * len(digests)

    pool = HelperPool([helper])
    with pytest.raises(StoreIsGoneError, match="no answer"):
        images_of(helped(files, pool, stream, claim))
    raised = time.monotonic()
    time.sleep(0.1)
    assert max(calls) <= raised
    assert pool.in_flight == 0
    pool.close()


def test_leaving_early_leaves_nothing_behind(
    files: list[str], stream: DecodeStream, helper: DecodingHelper, over: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a thread nor what is counted as in flight: here of a helper's images that are not yet a batch."""
    monkeypatch.setattr("extractor.shared_unit.CHUNK", 2)
    monkeypatch.setattr("extractor.helper_pool.LANES", 1)
    pool = HelperPool([Once(helper, over)])
    pipeline = helped(files, pool, stream)
    batches = pipeline.batches()
    while not pipeline._waiting:
        next(batches)
    batches.close()  # type: ignore[attr-defined]
    over.set()
    assert not any(thread.name == "permafrost-own-decoding" for thread in threading.enumerate())
    deadline = time.monotonic() + 10
    while pool.in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    assert pool.in_flight == 0
    pool.close()


@pytest.mark.slow
def test_helpers_stop_where_the_engine_does_not_keep_up(files: list[str], stream: DecodeStream, helper: DecodingHelper) -> None:
    chunk = 4 * sum(kind.views.count * kind.size * kind.size * 3 for kind in KINDS)
    pool = HelperPool([helper, helper], in_flight_bytes=3 * chunk)
    most = 0
    found = 0
    for positions, _ in helped(files, pool, stream).batches():
        time.sleep(0.02)
        most, found = max(most, pool.in_flight), found + len(positions)
    assert 0 < most <= 3 * chunk
    assert found == 32
    pool.close()


def test_a_file_that_changed_after_it_was_claimed_is_told(
    tmp_path: Path, encode: Encode, photo: Photo, stream: DecodeStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the helper no longer has its bytes."""
    # On a busy machine the worker took files of a late helper back, and read what they had become.
    monkeypatch.setattr("extractor.helped_pipeline.LATE_SECONDS", 3600.0)
    paths = [tmp_path / str(i) for i in range(12)]
    for i, path in enumerate(paths):
        path.write_bytes(encode(photo(40, 50, seed=i), "JPEG"))

    class Forgetful(DecodingHelper):
        def decode(self, files: Any, *args: Any) -> DecodedFiles:
            for location, digest in files:
                self._held.take(digest)
                Path(location).write_bytes(location.encode())
            return super().decode(files, *args)

    pool = HelperPool([Forgetful(1)])
    pipeline = helped([str(path) for path in paths], pool, stream)
    images = images_of(pipeline)
    assert images.keys() | pipeline.outcomes.rejects.keys() == set(range(12))
    assert {reason for reason, _ in pipeline.outcomes.rejects.values()} == {"changed"}
    pool.close()


def test_several_units_at_a_time_share_the_helpers(
    files: list[str], stream: DecodeStream, helper: DecodingHelper, alone: tuple[Images, Outcomes]
) -> None:
    """The second one's worker has nothing to decode with: its stream is the first one's."""
    pool = HelperPool([helper])
    first, second = helped(files, pool, stream), helped(files, pool, DecodeStream(KINDS, BATCH, THREADS, DEFAULT_LIMITS.pixels))
    begun = first.batches()
    position_of_first, _ = next(begun)
    require_same(images_of(second), second.outcomes, alone)
    assert len(position_of_first) + sum(len(positions) for positions, _ in begun) == 32
    pool.close()


def test_held_files_are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("extractor.decoding_helper.HELD_BYTES", 250)
    for i in range(9):
        (tmp_path / str(i)).write_bytes(bytes([i]) * 100)
    helper = DecodingHelper(1)
    read = helper.read([str(tmp_path / str(i)) for i in range(9)], DEFAULT_LIMITS)
    held = [helper._held.take(digest) for digest in read.digests if digest]
    assert [each is not None for each in held] == [False] * 6 + [True] * 3
    assert hashlib.sha256(held[-1] or b"").digest() == read.digests[-1]
    assert helper._held._bytes == 0
