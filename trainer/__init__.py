"""From a feature set and labels to a classification head.

import trainer
fitted = trainer.fit("features/products/mobilenet_v2", options=trainer.FitOptions("mlp", hidden=(1024,)))
print(fitted.metrics["test"].accuracy)
"""

import pyarrow  # noqa: F401 - before TensorFlow: the other order has crashed on some builds of both

from trainer.advise import advise
from trainer.class_weights import parse_class_weights
from trainer.evaluate_set import SetEvaluation, evaluate_head
from trainer.fit import fit
from trainer.fitted import FittedHead, summary
from trainer.head_folder import Head, check_head_target, load_head, save_head
from trainer.label_options import LabelOptions, parse_classes, parse_merges
from trainer.load import LoadOptions, Stream, load, open_stream
from trainer.options import FitOptions
from trainer.position import Position
from trainer.report import report_of_evaluation, report_of_fit, write_report
from trainer.split_options import SplitOptions
from trainer.sweep import sweep
from trainer.sweep_options import SweepOptions
from trainer.tails import Tail

__all__ = [
    "FitOptions",
    "FittedHead",
    "Head",
    "LabelOptions",
    "LoadOptions",
    "Position",
    "SetEvaluation",
    "SplitOptions",
    "Stream",
    "SweepOptions",
    "Tail",
    "advise",
    "check_head_target",
    "evaluate_head",
    "fit",
    "load",
    "load_head",
    "open_stream",
    "parse_class_weights",
    "parse_classes",
    "parse_merges",
    "report_of_evaluation",
    "report_of_fit",
    "save_head",
    "summary",
    "sweep",
    "write_report",
]
