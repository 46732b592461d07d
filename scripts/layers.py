"""`permafrost layers`: where a backbone can be cut."""

from __future__ import annotations

import argparse
from typing import Any

from extractor import Recipe
from extractor.backbone_table import BACKBONES
from scripts.backbone_options import add_backbone_options, make_recipe
from scripts.console import import_tensorflow, print_json, print_table


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "layers",
        help="list the layers of a backbone, for --layer",
        description="List the layers that a backbone can be cut at, with their output shapes. No weights are needed.",
        epilog="example: permafrost layers vgg16 --input-size 224",
    )
    parser.add_argument("backbone", metavar="BACKBONE", help="a name, a .keras model file or hub:PRESET, as for extract")
    add_backbone_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    recipe = recipe_without_questions(args)
    import_tensorflow()
    from extractor.backbones import list_layers

    rows = [
        {"layer": layer.name, "canonical": layer.canonical, "class": layer.kind, "shape": list(layer.shape), "note": note}
        for layer, note in list_layers(recipe)
    ]
    if args.json:
        print_json({"backbone": recipe.name, "input_size": recipe.input_size or None, "layers": rows})
    else:
        shapes = ["x".join("?" if n is None else str(n) for n in row["shape"]) for row in rows]
        print_table(
            ["layer", "canonical", "class", "shape", "note"],
            [(row["layer"], row["canonical"], row["class"], shape, row["note"]) for row, shape in zip(rows, shapes, strict=True)],
        )
    return 0


def recipe_without_questions(args: argparse.Namespace, **options: Any) -> Recipe:
    """The scaling of pixels, which a model file leaves open, does not matter here."""
    if args.backbone not in BACKBONES and not args.preprocessing:
        args.preprocessing = "none"
    return make_recipe(args, **options)
