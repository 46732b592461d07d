"""How much one image may cost. Beyond a limit it is a reject (`too-large`); limits are no part of the feature space."""

from __future__ import annotations

from dataclasses import dataclass

from storage.asked import check_fields
from storage.errors import UsageError

MAX_PIXELS = 89_478_485  # Pillow's own warning limit
MAX_FILE_BYTES = 128 << 20
LARGEST_FILE = 2**31 - 1  # bytes: protobuf and some of the decoders count in int32
# Each scan of a progressive JPEG is a walk over all its pixels, and a scan can be 12 bytes: 3 ns a pixel and scan, so 7 s. The usual
# ten scans reach 0.9e9 at the limit of pixels.
MAX_SCANNED_PIXELS = 1 << 31
ALONE_PIXELS = 16 << 20  # images that need more pixels in memory than this are decoded one at a time in a process


@dataclass(frozen=True)
class Limits:
    """Of one image: encoded bytes, and pixels (width x height as the header says). Frames after the first are not decoded."""

    bytes: int = MAX_FILE_BYTES
    pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        check_fields(self, bytes="bytes of an image", pixels="pixels of an image")
        if not 1 <= self.bytes <= LARGEST_FILE:
            raise UsageError(f"--max-bytes must be 1 to {LARGEST_FILE}, got {self.bytes}")
        if not 1 <= self.pixels <= MAX_PIXELS:  # memory a worker is stated for this many
            raise UsageError(f"--max-pixels must be 1 to {MAX_PIXELS}, got {self.pixels}")


DEFAULT_LIMITS = Limits()


class UndecodableError(Exception):
    """No decoder makes an image of these bytes. `reason` is the reject's code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def check_pixels(width: int, height: int, limit: int) -> None:
    """Raises UndecodableError."""
    if width * height > limit:
        raise UndecodableError("too-large", f"{width}x{height} are more than {limit} pixels")
