from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from trainer.fitted import FittedHead
from trainer.tensorboard_log import log_fit


@pytest.mark.slow
def test_curves_and_numbers_are_written_as_tensorboard_reads_them(fitted: FittedHead, tmp_path: Path) -> None:
    log_fit(fitted, tmp_path)
    found: dict[tuple[str, str, int], float] = {}
    for path in tmp_path.glob("*/events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                found[path.parent.name, value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    assert found["train", "epoch/loss", 1] == pytest.approx(fitted.history["loss"][0])
    assert found["validation", "epoch/loss", len(fitted.history["val_loss"])] == pytest.approx(fitted.history["val_loss"][-1])
    assert found["test", "fitted/accuracy", fitted.epochs] == pytest.approx(fitted.metrics["test"].headline()["accuracy"])
