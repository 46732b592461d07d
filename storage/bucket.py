"""Bytes in a bucket: S3 and servers that speak like it, Google Cloud Storage and Azure, through obstore.

Credentials and endpoints come from each cloud's usual environment variables and files. Only S3 has been tested (docs/store.md).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from storage.bucket_options import require_sound_options
from storage.disk import CHUNK_BYTES
from storage.errors import AlreadyExistsError, PermafrostError
from storage.patience import FIRST_PAUSE, LONGEST_PAUSE, PATIENCE_SECONDS
from storage.remote_errors import is_refusal, remote_error

logger = logging.getLogger(__name__)

RETRIES: Any = {"max_retries": 8, "retry_timeout": timedelta(seconds=PATIENCE_SECONDS)}
_GONE = "status code: 410 "  # how obstore 0.12 tells it, which knows 404 alone as a file that is not there
CLIENT: Any = {"timeout": "60s", "connect_timeout": "10s", "allow_http": True}

# A web server that answers GET alone; obstore 0.12 tells it as a file that is not there.
_NO_HEAD = "status code: 405 "
_PANIC = "PanicException"  # of Rust, through pyo3: no Exception, and it cannot be imported


class RefusedError(PermafrostError):
    """A 403: good credentials, or none, and this is not allowed."""


@dataclass(frozen=True)
class Bucket:
    """url: scheme and bucket, such as s3://features; the path in it is part of the key."""

    url: str

    def read(self, key: str) -> bytes:
        with _told(self.url):
            return bytes(_obstore().get(_client(self.url), key).bytes())

    def chunks(self, key: str) -> Iterator[bytes]:
        with _told(self.url):
            for chunk in _obstore().get(_client(self.url), key).stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    def size(self, key: str) -> int | None:
        found = self._head(key)
        return found["size"] if found else None

    def modified(self, key: str) -> float:
        found = self._head(key)
        if found is None:
            raise FileNotFoundError(f"{self.url}/{key} is not there")
        return float(found["last_modified"].timestamp())

    def names(self, key: str) -> list[str]:
        found = self._list(key)
        return _public_names([*found["common_prefixes"], *(each["path"] for each in found["objects"])])

    def folders(self, key: str) -> list[str]:
        return _public_names(self._list(key)["common_prefixes"])

    def create(self, key: str, data: bytes) -> None:
        """An answer is not trusted: "exists" may be an earlier try of this very call whose answer was lost, and a 409 means that another
        writer is at work and perhaps nobody has the key yet, which object_store does not tell apart (apache/arrow-rs-object-store#852).
        So whatever goes wrong, the key is looked at. Who finds his own bytes there has created it: they must be like nobody else's.
        """
        pause, end = FIRST_PAUSE, time.monotonic() + PATIENCE_SECONDS
        while True:
            failure = self._try_to_create(key, data)
            if failure is None:
                return
            with suppress(FileNotFoundError):
                if self.read(key) == data:
                    return
                raise AlreadyExistsError(f"{self.url}/{key} exists already")
            if time.monotonic() + pause > end:
                raise failure
            logger.warning("%s/%s could not be created (%s), trying for up to %.0f s", self.url, key, failure, PATIENCE_SECONDS)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def replace(self, key: str, data: bytes) -> None:
        with _told(self.url, writing=True):
            _obstore().put(_client(self.url), key, data)

    def upload(self, source: Path, key: str) -> None:
        with _told(self.url, writing=True):
            _obstore().put(_client(self.url), key, source)

    def remove(self, key: str) -> None:
        with _told(self.url, writing=True), suppress(FileNotFoundError):
            _obstore().delete(_client(self.url), key)

    def _list(self, key: str) -> Any:
        with _told(self.url):
            return _obstore().list_with_delimiter(_client(self.url), f"{key}/" if key else None)

    def _head(self, key: str) -> Any:
        with _told(self.url), suppress(FileNotFoundError):
            try:
                return _obstore().head(_client(self.url), key)
            except FileNotFoundError as error:
                if _NO_HEAD not in str(error):
                    raise
                return _obstore().get(_client(self.url), key).meta  # the body is not read
        return None

    def _try_to_create(self, key: str, data: bytes) -> OSError | None:
        """What went wrong and may pass, or may have been no failure at all. Raises PermafrostError where there is no such bucket."""
        try:
            with _told(self.url, writing=True):
                _obstore().put(_client(self.url), key, data, mode="create", use_multipart=False)
        except FileNotFoundError:
            raise PermafrostError(f"there is no bucket {self.url}: make it first, and look at its name and at the endpoint") from None
        except OSError as error:
            return error
        return None


def _public_names(paths: Iterable[str]) -> list[str]:
    names = {path.rstrip("/").rpartition("/")[2] for path in paths}
    return [name for name in names if not name.startswith(".")]


@contextmanager
def _told(url: str, writing: bool = False) -> Iterator[None]:
    """Turn obstore's errors into ours: FileNotFoundError, OSError for what may pass, PermafrostError for what will not."""
    from obstore import exceptions

    try:
        yield
    except FileNotFoundError:
        raise
    except exceptions.AlreadyExistsError as error:
        raise FileExistsError(remote_error(error)) from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        if writing and is_refusal(error):
            raise PermafrostError(
                f"{url} does not let you write there with these credentials, which come from the environment: they may only read"
            ) from None
        kind = RefusedError if isinstance(error, exceptions.PermissionDeniedError) else PermafrostError
        raise kind(f"{url} does not let you in: {remote_error(error)}. Credentials come from the environment") from None
    except (exceptions.NotSupportedError, exceptions.UnknownConfigurationKeyError, exceptions.InvalidPathError, ValueError) as error:
        raise PermafrostError(f"{url}: {remote_error(error)}") from None
    except exceptions.BaseError as error:
        if _GONE in str(error):
            raise FileNotFoundError(remote_error(error)) from None
        raise ConnectionError(f"{url} cannot be reached: {remote_error(error)}") from None
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        raise PermafrostError(f"{url}: obstore ended in a panic: {remote_error(error)}. Look at the options in the environment") from None


def _obstore() -> Any:
    import obstore  # 30 ms, and only remote stores need it

    return obstore


@lru_cache(maxsize=64)
def _client(url: str) -> Any:
    from obstore.store import from_url

    if url.startswith("s3://"):
        require_sound_options()
    return from_url(url, client_options=CLIENT, retry_config=RETRIES)
