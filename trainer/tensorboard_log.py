"""The learning curves and numbers of a fit as TensorBoard reads them.

Writing needs no TensorBoard, which TensorFlow has not brought along since 2.21: `tf.summary.scalar` is its code, `tf.summary.write`, which
takes the same record, is TensorFlow's (tensorflow/python/ops/summary_ops_v2.py). Looking does: `pip install tensorboard`.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from trainer.fitted import FittedHead

_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class="DATA_CLASS_SCALAR"
)


def log_fit(fitted: FittedHead, folder: str | Path) -> None:
    """Write a run for each split below `folder`: its curve over epochs, and at the last epoch the numbers of the kept head."""
    runs: dict[str, dict[str, list[float]]] = {name: {} for name in fitted.metrics}
    for name, values in fitted.history.items():
        split = "validation" if name.startswith("val_") else "train"
        runs.setdefault(split, {})[f"epoch/{name.removeprefix('val_')}"] = list(values)
    for split, series in runs.items():
        writer = tf.summary.create_file_writer(str(Path(folder) / split))
        with writer.as_default():
            for name, values in series.items():
                for epoch, value in enumerate(values, 1):
                    _write(name, value, epoch)
            if split in fitted.metrics:
                for name, value in fitted.metrics[split].headline().items():
                    _write(f"fitted/{name.replace(' ', '_')}", value, fitted.epochs)
        writer.close()


def _write(name: str, value: float, step: int) -> None:
    tf.summary.write(name, tf.constant(value, tf.float32), step, _SCALAR)
