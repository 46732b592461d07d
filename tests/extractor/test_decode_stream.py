from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from extractor.decode_stream import DecodeStream
from extractor.input_kind import InputKind
from extractor.limits import MAX_PIXELS
from extractor.pipeline import DecodePipeline
from tests.extractor.plain import decode

pytestmark = pytest.mark.slow

KINDS = [InputKind(32)]
BATCH, THREADS = 4, 2
Images = dict[int, npt.NDArray[np.uint8]]


@pytest.fixture
def stream() -> DecodeStream:
    return DecodeStream(KINDS, BATCH, THREADS, MAX_PIXELS)


@pytest.fixture
def paths(tmp_path: Path, photo: Callable[..., npt.NDArray[np.uint8]], encode: Callable[..., bytes]) -> list[Path]:
    paths = [tmp_path / f"{i:02d}.jpg" for i in range(20)]
    for i, path in enumerate(paths):
        path.write_bytes(encode(photo(40, 50, seed=i), "JPEG"))
    return paths


def pipeline(paths: Sequence[Path], stream: DecodeStream, granted: bool = True) -> DecodePipeline:
    return DecodePipeline([str(path) for path in paths], lambda digests: [granted] * len(digests), KINDS, BATCH, THREADS, stream=stream)


def require_its_own(paths: Sequence[Path], found: Images) -> None:
    assert list(found) == list(range(len(paths)))
    for path, image in zip(paths, found.values(), strict=True):
        assert np.abs(image.astype(int) - decode(path.read_bytes(), 32)).max() <= 1


def images(made: DecodePipeline) -> Images:
    return {position: image for positions, [batch] in made.batches() for position, image in zip(positions, batch.numpy(), strict=True)}


def test_each_unit_has_its_own_images(paths: list[Path], stream: DecodeStream) -> None:
    for unit in (paths[:7], paths[7:8], [], paths[8:16], paths[16:]):
        require_its_own(unit, images(pipeline(unit, stream)))


def test_units_that_give_no_image_end(paths: list[Path], stream: DecodeStream) -> None:
    broken = paths[0].with_name("broken.jpg")
    broken.write_bytes(paths[0].read_bytes()[:300])
    assert images(pipeline([broken], stream)) == {}
    assert images(pipeline(paths, stream, granted=False)) == {}
    require_its_own(paths[:5], images(pipeline(paths[:5], stream)))


@pytest.mark.parametrize("is_held", [True, False])
def test_a_unit_left_in_the_middle_gives_nothing_to_the_next(paths: list[Path], stream: DecodeStream, is_held: bool) -> None:
    left = pipeline(paths, stream).batches()
    assert next(left)[0] == [0, 1, 2, 3]
    if not is_held:
        left.close()  # type: ignore[attr-defined]
    require_its_own(paths[10:], images(pipeline(paths[10:], stream)))
    if is_held:  # as by a traceback; it goes on with its own
        assert [position for positions, _ in left for position in positions] == list(range(4, 20))
    require_its_own(paths[3:9], images(pipeline(paths[3:9], stream)))


def test_a_unit_whose_claim_fails_does_not_harm_the_next(paths: list[Path], stream: DecodeStream) -> None:
    def refuse(digests: Sequence[bytes]) -> list[int]:
        raise ConnectionError("the register is gone")

    with pytest.raises(ConnectionError):
        images(DecodePipeline([str(path) for path in paths], refuse, KINDS, BATCH, THREADS, stream=stream))
    require_its_own(paths, images(pipeline(paths, stream)))
