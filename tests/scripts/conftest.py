"""What the tests of commands share."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.cli import main

# The smallest network of the table: a third of MobileNetV2's time. Its end, of random weights, is nearly nothing; its start is not.
SMALL = ["--backbone", "mobilenet", "--backbone-arg", "alpha=0.25", "--weights", "random:1", "--input-size", "32"]
SMALL_START = [*SMALL, "--layer", "conv_pw_2_relu"]

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """say(*words): run `permafrost` in an empty folder; returns (exit code, stdout, stderr). No traceback is ever allowed."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:  # argparse
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


@pytest.fixture(scope="session")
def clothing(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clothing")
    with tarfile.open(shared_data / "clothing" / "images.tar") as tar:
        tar.extractall(folder, filter="data")
    return folder
