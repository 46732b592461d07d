"""`permafrost predict`: backbone and head on new images."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from extractor.corpus import list_folder
from scripts.console import import_tensorflow, print_json, print_table, warn
from storage.errors import NotFoundError

EXIT_INCOMPLETE = 3


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "predict",
        help="classify images with a head",
        description="Embed images with the head's own backbone and classify them. A backbone of another feature space is refused.",
        epilog="example: permafrost predict heads/photos new/*.jpg",
    )
    parser.add_argument("head", metavar="HEAD", help="a folder made by `permafrost train`")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--weights", metavar="W", help="where the backbone's weights are now, if not where they were at extraction")
    parser.add_argument("--backbone", metavar="FILE", help="where the backbone's .keras model file or preset is now, likewise")
    parser.add_argument("--json", action="store_true", help="print one JSON document, with the probabilities of all classes")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    paths = _image_paths(args.images)
    if not (Path(args.head) / "head.json").is_file():  # said before TensorFlow's seconds of importing
        raise NotFoundError(f"no head at {args.head}: expected a folder made by `permafrost train --out {args.head}`")
    import_tensorflow()
    import trainer
    from extractor.embed import embed_files
    from extractor.recipe import Recipe

    head = trainer.load_head(Path(args.head))
    moved = {"weights": args.weights, "name": args.backbone}
    recipe = Recipe.from_dict({**head.backbone, **{name: place for name, place in moved.items() if place}})
    embedded = embed_files(paths, recipe, head.space, f"the head {args.head}", threads=os.cpu_count() or 2)
    predictions: list[dict[str, Any]] = []
    if embedded.positions:
        for position, probabilities in zip(embedded.positions, head.predict(embedded.embeddings), strict=True):
            best = int(probabilities.argmax())
            predictions.append(
                {
                    "image": str(paths[position]),
                    "class": head.classes[best],
                    "probability": float(probabilities[best]),
                    "probabilities": dict(zip(head.classes, map(float, probabilities), strict=True)),
                }
            )
    rejects = [{"image": str(paths[i]), "reason": reason, "message": message} for i, (reason, message) in embedded.rejects.items()]
    _show(predictions, rejects, args.json)
    return EXIT_INCOMPLETE if rejects else 0


def _show(predictions: list[dict[str, Any]], rejects: list[dict[str, Any]], as_json: bool) -> None:
    for reject in rejects:
        warn(f"{reject['image']}: {reject['reason']}: {reject['message']}")
    if as_json:
        print_json({"predictions": predictions, "rejects": rejects})
    elif predictions:
        print_table(["image", "class", "probability"], [(p["image"], p["class"], p["probability"]) for p in predictions])


def _image_paths(names: list[str]) -> list[Path]:
    """Files as given, folders as their listing. Raises NotFoundError for what is not there."""
    paths: list[Path] = []
    for name in names:
        path = Path(name)
        if not path.exists():
            raise NotFoundError(f"no such image: {name}")
        paths += [path / item.key for item in list_folder(path).items] if path.is_dir() else [path]
    return paths
