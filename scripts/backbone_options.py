"""The options that name a network, which several commands share."""

from __future__ import annotations

import argparse
from typing import Any

from extractor import Recipe
from extractor.backbone_args import parse_assignments
from extractor.recipe import PREPROCESSINGS, check_input_size


def add_backbone_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument("--backbone-arg", action="append", default=[], metavar="NAME=VALUE", help="of its builder, such as alpha=0.35")
    parser.add_argument("--weights", default="", metavar="W", help="imagenet (default), random:SEED or an .h5 weights file")
    parser.add_argument("--input-size", type=int, metavar="N", help="pixels (default: the backbone's own)")
    parser.add_argument("--preprocessing", choices=PREPROCESSINGS, default="", help="scaling of pixels (default: the backbone's own)")


def make_recipe(args: argparse.Namespace, **options: Any) -> Recipe:
    if args.input_size is not None:
        check_input_size(args.input_size)
    return Recipe(
        args.backbone,
        weights=args.weights,
        input_size=args.input_size or 0,
        preprocessing=args.preprocessing,
        args=parse_assignments(args.backbone_arg),  # type: ignore[arg-type]
        **options,
    )
