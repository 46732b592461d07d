"""The reason codes of rejects, and what each one means."""

from __future__ import annotations

REASONS = {
    "missing": "a list names a file that is not there",
    "not-a-file": "a folder, pipe or device",
    "repeated-key": "a list has the key twice; the first one counts",
    "bad-name": "the file's name is not valid Unicode",
    "empty": "no bytes",
    "not-an-image": "none of the formats that are read",
    "unsupported": "an image, of a format or depth that is not read",
    "corrupt": "a known format, but no decoder makes an image of it",
    "too-large": "more bytes, pixels or scans than the limits allow",
    "unreadable": "the file, disk or server gave an error",
    "changed": "the file changed while it was being read",
    "out-of-memory": "not enough memory to decode it where it was tried",
    "non-finite": "the embedding has NaN or infinity in the stored dtype",
    "truncated": "a container ends in the middle of it",
    "bad-container": "a container, or the rest of it, is none that can be read",
    "bad-record": "a record of a container cannot be read",
    "bad-checksum": "a record of a container is not what was written, by its checksum",
    "fatal": "it kills, breaks or hangs the worker that reads it",
    "underflow": "the embedding is too small for the stored dtype",
}

# One such reject stands for all images that went with it, and nobody knows how many.
UNCOUNTED_REASONS = frozenset({"truncated", "bad-container"})

# May be gone next time although the file is the same; all others are final for these bytes.
PASSING_REASONS = frozenset({"unreadable", "changed", "out-of-memory"})
