"""Credentials that may only read: a write says so in words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from storage.errors import PermafrostError
from storage.files import create_exclusive, remove, write_atomic
from storage.names import parse_root
from storage.place import Place

REFUSED = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'


class Refusing(BaseHTTPRequestHandler):
    """An S3 server for somebody who may not write."""

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(403)
        self.send_header("Content-Length", str(len(REFUSED)))
        self.end_headers()
        self.wfile.write(REFUSED)

    do_PUT = do_POST = do_DELETE = _refuse

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    for name, value in (("AWS_ACCESS_KEY_ID", "somebody"), ("AWS_SECRET_ACCESS_KEY", "something"), ("AWS_REGION", "us-east-1")):
        monkeypatch.setenv(name, value)
    yield parse_root(f"s3://read-only-{server.server_address[1]}")  # clients are kept by bucket
    server.shutdown()
    server.server_close()


def test_a_write_says_that_these_credentials_may_only_read(bucket: Place) -> None:
    for write in (
        lambda: create_exclusive(bucket / "versions" / "00000001.json", b"x"),
        lambda: write_atomic(bucket / "hint.json", b"x"),
        lambda: remove(bucket / "hint.json"),
    ):
        with pytest.raises(PermafrostError, match=r"^s3://read-only-\d+ does not let you write there with these credentials") as told:
            write()
        assert "http://" not in str(told.value)
