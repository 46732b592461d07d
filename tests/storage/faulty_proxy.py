"""A proxy before an S3 server that harms one request: the real border where the network, or the server, fails."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

FAULTS = {
    "lost request": "the connection breaks before the server hears of it",
    "lost answer": "the server does it, and the connection breaks before it says so",
    "503": "the server is busy, and does nothing",
    "409": "another writer is at work on the key, and nothing is done",
    "412": "the server does it, the answer is lost, and the client's own second try finds its key taken",
}


DEATHS = {
    "dies before": "the client's process is killed, and the server never hears of its request",
    "dies after": "the client's process is killed when the server has done it",
}
Answer = tuple[int, bytes, dict[str, str]]


@dataclass
class Harm:
    """Which request, counted from 0, is harmed, and how. victim: the process that dies.

    While `behind` is set, listings are those of before, as servers give whose listings follow later.
    """

    fault: str = ""
    at: int = -1
    victim: int = 0
    behind: bool = False
    seen: list[str] = field(default_factory=list)
    listings: dict[str, Answer] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, request: str) -> str:
        with self.lock:
            self.seen.append(request)
            return self.fault if len(self.seen) - 1 == self.at else ""


@contextmanager
def proxy(target: str, harm: Harm) -> Iterator[str]:
    """The address of a proxy before the server at `target`."""
    host, port = urlsplit(target).hostname, urlsplit(target).port

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = harm.of(f"{self.command} {self.path}")
            if fault == "dies before":
                os.kill(harm.victim, signal.SIGKILL)
            if fault in ("lost request", "dies before"):
                return self.break_off()
            if fault in ("503", "409"):
                return self.answer(int(fault), b"<Error><Code>Fault</Code></Error>", {})
            answer = harm.listings.get(self.path) if harm.behind else None
            answer = answer or self.forward(body)
            if "list-type=2" in self.path and not harm.behind:
                harm.listings[self.path] = answer
            if fault == "dies after":
                os.kill(harm.victim, signal.SIGKILL)
            if fault in ("lost answer", "dies after"):
                return self.break_off()
            return self.answer(*(self.forward(body) if fault == "412" else answer))

        def forward(self, body: bytes) -> Answer:
            connection = http.client.HTTPConnection(str(host), port, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            found = connection.getresponse()
            content = found.read()
            connection.close()
            return found.status, content, dict(found.getheaders())

        def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            length = headers.get("Content-Length") or headers.get("content-length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def break_off(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_: object) -> None:
            pass

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
