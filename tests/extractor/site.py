"""A small web server for tests of reading: what it has, what it was asked for, and which ranges."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from extractor import content
from extractor.limits import MAX_FILE_BYTES


@dataclass
class Site:
    """A small web server: path -> (status, body), with what was asked of it."""

    url: str
    pages: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    ranges: list[tuple[int, int]] = field(default_factory=list)  # (first byte, last) of the requests that named some
    knows_ranges: bool = True

    @property
    def sent(self) -> int:
        """Bytes of the ranges."""
        return sum(last - first + 1 for first, last in self.ranges)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(content, "_RETRIES", {"max_retries": 0})
    content._store.cache_clear()
    found = Site("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self, with_body: bool = True) -> None:
            found.asked.append(f"{self.command} {self.path}")
            status, whole = found.pages.get(self.path, (404, b""))
            body = whole
            if status == 200 and found.knows_ranges and (wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))):
                first, last = int(wanted[1]), min(int(wanted[2]), len(body) - 1)
                found.ranges.append((first, last))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
                body = body[first : last + 1]
            else:
                self.send_response(status)
            self.send_header("Content-Length", str(len(body) if b"huge" not in body else MAX_FILE_BYTES + 1))
            self.send_header("Last-Modified", "Tue, 24 Nov 2026 10:00:00 GMT")
            self.send_header("ETag", f'"{hash(whole)}"')
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET(with_body=False)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()
    content._store.cache_clear()
