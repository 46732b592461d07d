from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEFT_IN_ITS_MIDST = """
import time
import numpy as np
from trainer.input_pipeline import InMemory, stream
from trainer.room import aligned_room
from trainer.shuffle_plan import ShufflePlan

class Slow(InMemory):
    def take(self, items, views):
        time.sleep(0.3)
        return super().take(items, views)

source = Slow(aligned_room((64, 4), "float16"), np.arange(64))
batches = iter(stream(source, np.zeros(64, np.int64), ShufflePlan(64, 2, 8, 0), 8, None))
next(batches)
next(batches)
print("left")
"""


@pytest.mark.slow
def test_a_program_ends_that_leaves_a_stream_in_its_midst() -> None:
    """It hung before, because tf.data asked for the interpreter while that shut down."""
    done = subprocess.run([sys.executable, "-c", LEFT_IN_ITS_MIDST], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "left\n"), done.stderr
