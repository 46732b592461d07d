"""What benchmarks are asked for: numbers that make sense and images that are there, or a refusal in words at the start."""

from __future__ import annotations

import argparse
import math
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import PermafrostError


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number, {least} or more; got {text!r}")
        return int(text)

    return parse


def multiple_of(step: int, least: int = 0) -> Callable[[str], int]:
    """The type of an option; least: `step` if it is 0."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < (least or step) or int(text) % step:
            raise argparse.ArgumentTypeError(f"expected a multiple of {step:,}, {least or step:,} or more; got {text!r}")
        return int(text)

    return parse


def above_zero(text: str) -> float:
    """Seconds, minutes, or a rate."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def folder_of_jpegs(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"expected a folder of JPEGs; there is no folder {text}")
    if not jpegs_in(Path(text)):
        raise argparse.ArgumentTypeError(f"expected a folder of JPEGs (.jpg, .jpeg); none is in {text} or below it")
    return Path(text)


def tar_file(text: str) -> Path:
    if not Path(text).is_file() or not tarfile.is_tarfile(text):
        raise argparse.ArgumentTypeError(f"expected a tar file, and {text} is none")
    return Path(text)


def new_file(text: str) -> Path:
    """To be written at the end of hours."""
    if not Path(text).parent.is_dir() or Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"expected a file to write, in a folder that is there; got {text!r}")
    return Path(text)


def jpegs_in(folder: Path) -> list[Path]:
    """In it and below it, sorted."""
    return sorted(folder.rglob("*.jp*g"))


@contextmanager
def mistakes_told() -> Iterator[None]:
    """Ends the process with the words of an error that is told in words, or of the system's."""
    try:
        yield
    except (PermafrostError, OSError) as error:
        sys.exit(str(error))
