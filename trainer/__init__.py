"""From a feature set and labels to a classification head.

import trainer
fitted = trainer.fit("features/products/mobilenet_v2")
print(fitted.metrics["test"].accuracy)
"""

import pyarrow  # noqa: F401 - before TensorFlow: the other order has crashed on some builds of both

from trainer.fit import FitOptions, FittedHead, fit, summary
from trainer.head_folder import Head, check_head_target, load_head, save_head
from trainer.input_pipeline import load

__all__ = ["FitOptions", "FittedHead", "Head", "check_head_target", "fit", "load", "load_head", "save_head", "summary"]
