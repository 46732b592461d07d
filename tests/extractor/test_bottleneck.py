"""What binds, told of real runs in which one stage was made slow: its words must name that stage, and no other."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from extractor.claims import ClaimRegister
from extractor.executor import WORKER_THREAD
from extractor.local_executor import LocalExecutor
from extractor.options import ExtractOptions
from extractor.recipe import Recipe
from extractor.run import extract
from extractor.worker import Worker
from tests.conftest import draw

pytestmark = pytest.mark.slow

RECIPE = Recipe("mobilenet_v2", "random:0", input_size=32, dtype="float32")
IMAGES = 64


class Sums:
    """An engine: an embedding is made of sums over rows of pixels, in no time; or in so many seconds an image."""

    def __init__(self, shape: tuple[int, ...], seconds: float = 0.0) -> None:
        self.batch_size, self.shapes, self.seconds = 32, [shape], seconds

    def embed(self, images: Any) -> list[npt.NDArray[np.float32]]:
        time.sleep(self.seconds * len(images))
        sums = np.asarray(images, np.float32).sum(axis=2).reshape(len(images), -1)
        return [np.stack([np.resize(row, self.shapes[0]) for row in sums])]


class SlowRegister(ClaimRegister):
    def claim(self, unit: str, attempt: int, digests: Sequence[bytes]) -> list[int]:
        time.sleep(0.4)
        return super().claim(unit, attempt, digests)


@pytest.fixture(scope="module")
def worker() -> Worker:
    """Built once; its engine is replaced."""
    return Worker([RECIPE])


@pytest.fixture
def told(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Extracts a corpus, with an engine of so many seconds an image; returns what the report says of what binds."""

    class Warm(LocalExecutor):
        def _new_worker(self) -> Worker:
            return worker

    def run(corpus: Path, seconds: float = 0.0) -> dict[str, Any]:
        network = worker._networks[0]
        network.engine = Sums(network.engine.shapes[0], seconds)  # type: ignore[assignment]
        monkeypatch.setattr("extractor.run.make_executor", lambda options: Warm((options.recipe,), 1))
        result = extract(corpus, tmp_path / "store" / "team" / "set", ExtractOptions(RECIPE, local=True))
        assert result.embedded == IMAGES
        assert result.report
        report = json.loads(Path(result.report).with_name("report.json").read_text())
        found: dict[str, Any] = report["bottleneck"] | {"seconds": report["seconds"]}
        return found

    return run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    for i in range(IMAGES):
        (folder / f"{i:03d}.jpg").write_bytes(draw(i, format_name="JPEG"))
    return folder


@pytest.fixture(scope="module")
def expensive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large in pixels and small in bytes: progressive JPEGs of few details. One, which a comment makes another one each time."""
    folder = tmp_path_factory.mktemp("expensive")
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).resize((1200, 900), Image.Resampling.BICUBIC).save(file, "JPEG", quality=75, progressive=True)
    for i in range(IMAGES):
        comment = b"%04d" % i
        (folder / f"{i:03d}.jpg").write_bytes(file.getvalue()[:2] + b"\xff\xfe\x00\x06" + comment + file.getvalue()[2:])
    return folder


@pytest.fixture
def slow_site(tiny: Path) -> Iterator[str]:
    """A web server, as slow as a far bucket."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(0.05)
            body = (tiny / self.path.rpartition("/")[2]).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Tue, 24 Nov 2026 10:00:00 GMT")
            self.end_headers()
            self.wfile.write(body if self.command == "GET" else b"")

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_expensive_images_and_a_fast_engine_name_decoding(told: Callable[..., dict[str, Any]], expensive: Path) -> None:
    found = told(expensive)
    assert found["stage"] == "decode", found
    assert "Decoding: the forward pass waited" in found["words"]


def test_a_slow_engine_names_the_forward_pass(told: Callable[..., dict[str, Any]], tiny: Path) -> None:
    found = told(tiny, seconds=0.006)
    assert found["stage"] == "infer", found


def test_a_slow_source_names_reading(told: Callable[..., dict[str, Any]], slow_site: str, tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("path\n" + "".join(f"{slow_site}/{i:03d}.jpg\n" for i in range(IMAGES)))
    found = told(listed)
    assert found["stage"] == "read", found


def test_a_slow_driver_names_claims(told: Callable[..., dict[str, Any]], tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.local_executor.ClaimRegister", SlowRegister)
    found = told(tiny)
    assert found["stage"] == "claim", found


def test_a_slow_disk_names_writing(told: Callable[..., dict[str, Any]], tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def slowly(handle: int) -> None:
        if threading.current_thread().name == WORKER_THREAD:  # shard and receipt, and not what the driver writes
            time.sleep(0.2)
        sync(handle)

    monkeypatch.setattr("storage.disk.os.fsync", slowly)
    found = told(tiny)
    assert found["stage"] == "write", found
