"""An item's bytes: from a local path, or from a URI of an object store or web server (obstore); whole, or a part of a container."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from extractor.corpus import Item
from extractor.crc32c import masked_crc32c
from extractor.limits import MAX_FILE_BYTES
from extractor.part import ByteRange, ParquetRow, RecordImage, split_part
from storage.bucket_options import require_sound_options
from storage.errors import PermafrostError
from storage.remote_errors import remote_error

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least: C:// is a drive
_RETRIES: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}  # obstore's own 180 s stall a corpus of dead links
_CLIENT: Any = {"timeout": "60s", "connect_timeout": "10s", "allow_http": True}
_CHECKSUM_BYTES = 4  # behind the data of a TFRecord


@dataclass(frozen=True)
class Content:
    """The encoded bytes, or why there are none: a reason code and a message."""

    encoded: bytes = b""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Stamp:
    """What the source says of an item before it is read: a stamp, or why it cannot be an item.

    A message without a reason is that of a server which did not answer now.
    """

    value: str = ""
    reason: str = ""
    message: str = ""
    bytes: int | None = None


def locate(base: Path, item: Item) -> str:
    """Where the item's bytes are: a URI as it is, a path below `base` unless it is absolute."""
    location = item.location or item.key
    if not is_uri(location):
        return os.path.join(base, location)
    if not location.lower().startswith("file://"):
        return location
    container, part = split_part(location)
    return unquote(urlsplit(container).path) + str(part or "")


def is_uri(location: str) -> bool:
    return _URI.match(location) is not None


def read_stamp(location: str) -> Stamp:
    """Ask for size and time of change, not for content. A server that does not answer leaves it to the reading: an empty value."""
    container, part = split_part(location)
    stamp = _remote_stamp(container) if is_uri(container) else _local_stamp(container)
    if part is None or not stamp.value:
        return stamp
    return Stamp(f"{stamp.value}{part}", bytes=None if isinstance(part, ParquetRow) else part.length)


def read_content(location: str, max_bytes: int = MAX_FILE_BYTES) -> Content:
    """Read one item, and no more than that of its container; never raises for what is wrong with the item or its source."""
    container, part = split_part(location)
    if isinstance(part, ParquetRow):
        return _read_row(container, part, max_bytes)
    if isinstance(part, RecordImage):
        return _read_record(container, part, max_bytes)
    if part:
        return _read_range(container, part, max_bytes)
    return _read_remote(location, max_bytes) if is_uri(location) else _read_local(location, max_bytes)


def stamp_of(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def _local_stamp(location: str) -> Stamp:
    try:
        status = os.stat(location)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        return Stamp(reason="missing", message=f"no such file ({getattr(error, 'strerror', None) or error})")
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for without end
        return Stamp(reason="not-a-file", message="a folder or device, not a file")
    return Stamp(stamp_of(status), bytes=status.st_size)


def _read_local(location: str, max_bytes: int) -> Content:
    try:
        size = os.stat(location).st_size
        return _too_large(size, max_bytes) or Content(Path(location).read_bytes())
    except OSError as error:
        return Content(reason="unreadable", message=f"{type(error).__name__}: {error.strerror}")


def _read_record(container: str, part: RecordImage, max_bytes: int) -> Content:
    found = _read_range(container, ByteRange(part.record.start, part.record.length + _CHECKSUM_BYTES), max_bytes)
    data, checksum = found.encoded[: part.record.length], found.encoded[part.record.length :]
    if not found.reason and masked_crc32c(data) != int.from_bytes(checksum, "little"):
        return Content(
            reason="bad-checksum", message=f"the record's data at offset {part.record.start} are not what was written, by their checksum"
        )
    return found if found.reason else Content(data[part.start : part.start + part.length])


def _read_range(container: str, part: ByteRange, max_bytes: int) -> Content:
    if too_large := _too_large(part.length, max_bytes):
        return too_large
    found = _read_remote_range(container, part) if is_uri(container) else _read_local_range(container, part)
    if not found.reason and len(found.encoded) != part.length:
        return Content(reason="changed", message="the container is shorter than it was when it was listed; run again")
    return found


def _read_local_range(location: str, part: ByteRange) -> Content:
    try:
        with open(location, "rb", buffering=0) as file:
            file.seek(part.start)
            return Content(file.read(part.length))
    except OSError as error:
        return Content(reason="unreadable", message=f"{type(error).__name__}: {error.strerror}")


def _read_row(location: str, part: ParquetRow, max_bytes: int) -> Content:
    from extractor.parquet_rows import read_row  # it reads containers, which come from here

    try:
        encoded = read_row(location, part)
    except PermafrostError as error:
        return Content(reason="unreadable", message=str(error))
    if encoded is None:
        return Content(reason="empty", message="the row has no image bytes")
    return _too_large(len(encoded), max_bytes) or Content(encoded)


def _remote_stamp(location: str) -> Stamp:
    import obstore
    from obstore.exceptions import BaseError

    try:
        store, path = open_remote(location)
        meta = obstore.head(store, path)
    except FileNotFoundError:
        return Stamp(reason="missing", message="the server has no such object")
    except (BaseError, OSError, ValueError) as error:
        return Stamp(message=remote_error(error))
    return Stamp(meta.get("e_tag") or f"{meta['size']}-{meta['last_modified'].isoformat()}", bytes=meta["size"])


def _read_remote(location: str, max_bytes: int) -> Content:
    import obstore
    from obstore.exceptions import BaseError

    try:
        store, path = open_remote(location)
        answer = obstore.get(store, path)
        return _too_large(answer.meta["size"], max_bytes) or Content(bytes(answer.bytes()))
    except (BaseError, OSError, ValueError) as error:
        return Content(reason="unreadable", message=f"{type(error).__name__}: {remote_error(error)}")


def _read_remote_range(location: str, part: ByteRange) -> Content:
    import obstore
    from obstore.exceptions import BaseError

    if not part.length:  # a range without bytes cannot be asked for
        return Content()
    try:
        store, path = open_remote(location)
        return Content(bytes(obstore.get_range(store, path, start=part.start, length=part.length)))
    except (BaseError, OSError, ValueError) as error:
        return Content(reason="unreadable", message=f"{type(error).__name__}: {remote_error(error)}")


def _too_large(size: int, limit: int) -> Content | None:
    return Content(reason="too-large", message=f"{size} bytes, the limit is {limit}") if size > limit else None


def open_remote(location: str) -> tuple[Any, str]:
    """(store, path in it). A signed URL is a store of its own, because a path cannot carry its query."""
    parts = urlsplit(location)
    if parts.query:
        return _store(location), ""
    return _store(f"{parts.scheme}://{parts.netloc}"), unquote(parts.path.lstrip("/"))


@lru_cache(maxsize=64)
def _store(url: str) -> Any:
    from obstore.store import from_url

    if url.startswith("s3://"):
        require_sound_options()
    return from_url(url, client_options=_CLIENT, retry_config=_RETRIES)
