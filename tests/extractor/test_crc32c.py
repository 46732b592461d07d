"""The checksum of TFRecord files, against its definition and against what TensorFlow writes."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractor.crc32c import FOLD, crc32c, masked_crc32c
from tests.extractor.containers import write_tfrecord

P = 0x11EDC6F41


def by_definition(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_the_values_of_rfc_3720(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc


def test_what_is_folded_with_is_a_multiple_of_the_polynomial() -> None:
    remainder = sum(1 << exponent for exponent in FOLD)
    for degree in range(FOLD[0], 31, -1):
        remainder ^= (P << degree - 32) if remainder >> degree & 1 else 0
    assert remainder == 0


@given(st.integers(0, 5000), st.integers(0, 1000))
def test_any_length(length: int, seed: int) -> None:
    data = random.Random(seed).randbytes(length)
    assert crc32c(data) == by_definition(data)


@pytest.mark.parametrize("length", [289, 290, 291, 580, 581, 100_003])
def test_lengths_at_which_the_folding_changes_and_a_long_one(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert crc32c(data) == by_definition(data)


@pytest.mark.parametrize("length", [0, 5, 1000, 1_000_000])
def test_what_tensorflow_writes(tmp_path: Path, length: int) -> None:
    data = random.Random(length).randbytes(length)
    written = write_tfrecord(tmp_path / "a.tfrecord", [data]).read_bytes()
    assert struct.unpack_from("<I", written, 8) == (masked_crc32c(written[:8]),)
    assert struct.unpack_from("<I", written, 12 + length) == (masked_crc32c(data),)
