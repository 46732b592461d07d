"""An S3 server on the loopback, for tests of remote stores: moto's, in this process."""

from __future__ import annotations

import itertools
import logging
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from moto.server import ThreadedMotoServer

from storage.place import RemotePlace

_numbers = itertools.count(1)


@contextmanager
def serve() -> Iterator[str]:
    """The server's address. Its buckets are in memory, and readers find them by the environment."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
            ("AWS_ACCESS_KEY_ID", "somebody"),
            ("AWS_SECRET_ACCESS_KEY", "something"),
            ("AWS_REGION", "us-east-1"),
        ):
            patch.setenv(name, value)
        yield f"http://{host}:{port}"
    server.stop()


def new_bucket(address: str) -> RemotePlace:
    """A bucket that nobody else uses, with a store somewhere in it."""
    from storage.names import parse_root

    name = f"features-{next(_numbers)}"
    urllib.request.urlopen(urllib.request.Request(f"{address}/{name}", method="PUT"))
    place = parse_root(f"s3://{name}/team features")
    assert isinstance(place, RemotePlace)
    return place
