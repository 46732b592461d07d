"""The contract of an engine, held by each: JAX's in a process of its own, because Keras has one backend a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from extractor.engine_choice import is_installed
from tests.extractor.engine_contract import CHECKS, CLASSES

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=CLASSES)
def outcomes(request: pytest.FixtureRequest) -> dict[str, str]:
    """What came of each check ("" where it holds), from one process an engine: building networks is what takes the time."""
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed: pip install permafrost[{request.param}]")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax" if request.param == "jax" else "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-m", "tests.extractor.engine_contract", request.param]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_every_engine_keeps_the_contract(outcomes: dict[str, str], check: str) -> None:
    assert outcomes[check] == ""
