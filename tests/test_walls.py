"""The layout is the architecture: who may import whom, checked in fresh interpreters and in the sources."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {"storage", "extractor", "trainer", "scripts"}
HEAVY = {"tensorflow", "keras", "ray"}

# importing this -> none of these may be loaded
WALLS = [
    ("storage", HEAVY | OURS - {"storage"} | {"PIL", "h5py"}),
    ("extractor", HEAVY | {"trainer", "scripts"}),
    ("extractor.ray_executor", {"tensorflow", "keras", "trainer", "scripts"}),
    pytest.param("extractor.local_executor", {"ray", "trainer", "scripts"}, marks=pytest.mark.slow),
    pytest.param("trainer", {"ray", "extractor", "scripts"}, marks=pytest.mark.slow),
    ("scripts.cli", HEAVY | {"trainer"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("module", "forbidden"), WALLS)
def test_importing_loads_nothing_behind_the_wall(module: str, forbidden: set[str]) -> None:
    code = f"import {module}, sys, json; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not forbidden & set(json.loads(done.stdout.splitlines()[-1]))


@cache
def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


# Also imports inside functions, which a fresh interpreter does not run.
@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("storage", HEAVY | OURS - {"storage"}),
        ("extractor", {"trainer", "scripts"}),
        ("trainer", {"extractor", "scripts", "ray"}),
    ],
)
def test_no_source_imports_over_the_wall(package: str, forbidden: set[str]) -> None:
    sources = list((ROOT / package).rglob("*.py"))
    assert sources
    assert {path.name: _imports(path) & forbidden for path in sources if _imports(path) & forbidden} == {}


def test_ray_lives_in_one_file() -> None:
    users = [path.relative_to(ROOT).as_posix() for package in OURS for path in (ROOT / package).rglob("*.py") if "ray" in _imports(path)]
    assert sorted(users) == ["extractor/ray_executor.py", "scripts/bench_extract_peers.py"]  # the latter is what others would write
