"""`permafrost export`: one model that takes images, from a head and its network, in the format of a serving library."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.console import counts_text, human_bytes, import_tensorflow, print_json, print_pairs, print_table, quiet_native, warn
from scripts.export_folder import DESCRIPTION, check_export_target, describe_files
from scripts.named_images import NamedImages, name_images
from scripts.predict import recipe_of, require_head
from scripts.words import local_path
from storage.errors import UsageError
from storage.files import read_json

if TYPE_CHECKING:
    from scripts.export_model import ExportedModel
    from scripts.export_parity import Parity

NEEDS = {  # by format: packages that are no part of a plain installation
    "keras": (),
    "savedmodel": (),
    "onnx": ("onnx", "onnxruntime", "tf2onnx"),
    "litert": ("ai_edge_litert",),
}
MAX_IMAGES = 2000  # of --images: all their pixels are in memory


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "export",
        help="write a head and its network as one model that takes images",
        description="Join a head with the network that makes its features into one model, prove that it predicts what `permafrost predict` "
        "does, and write it for Keras, TensorFlow, ONNX Runtime or LiteRT. (The features of a set: `permafrost store export`.)",
        epilog="example: permafrost export heads/photos --to onnx --out served/photos",
    )
    parser.add_argument("head", metavar="HEAD", help="a folder made by `permafrost train`")
    parser.add_argument("--to", required=True, choices=tuple(NEEDS), help="the format; onnx and litert need permafrost[export]")
    parser.add_argument(
        "--out", type=local_path, required=True, metavar="FOLDER", help="folder to write; an older export there is replaced"
    )
    images_help = f"compare on these too, beside the golden images: images, folders or lists of them (at most {MAX_IMAGES}, evenly)"
    parser.add_argument("--images", nargs="+", default=[], metavar="IMAGES", help=images_help)
    parser.add_argument("--weights", metavar="W", help="where the backbone's weights are now, if not where they were at extraction")
    parser.add_argument("--backbone", metavar="FILE", help="where the backbone's .keras model file or preset is now, likewise")
    parser.add_argument("--json", action="store_true", help="print one JSON document: that of export.json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    out = Path(args.out)
    require_head(args.head)
    check_export_target(out)
    _require_packages(args.to)
    images = _at_most(name_images(args.images), MAX_IMAGES)
    moved = {name: place for name, place in (("weights", args.weights), ("name", args.backbone)) if place}
    import_tensorflow()
    import trainer
    from scripts.export_model import join, require_float32, takes_pixels
    from scripts.export_sample import take_sample
    from scripts.export_writing import write_export

    head = trainer.load_head(args.head)
    require_float32(head)
    if takes_pixels(head) and moved:
        raise UsageError(f"--weights and --backbone are for heads on features: {args.head} was fine-tuned, and has its network in it")
    recipe = None if takes_pixels(head) else recipe_of(head, moved)
    with quiet_native():  # decoders talk of each damaged file; what is wrong with it is said below
        sample = take_sample(head, recipe, images)
    exported = join(head, recipe)
    parity = write_export(head, exported, sample, args.to, out)
    for reject in images.rejects:
        warn(f"not compared: {reject['image']}: {reject['reason']}: {reject['message']}")
    if images.skipped:
        warn(f"names that are no images were passed over: {counts_text(images.skipped)}")
    if args.json:
        print_json({**read_json(out / DESCRIPTION, "description of an export"), "out": str(out)})
    else:
        _print(out, args.to, exported, parity)
    return 0


def _require_packages(to: str) -> None:
    """Raise UsageError, saying what to install, before any work."""
    if missing := [name for name in NEEDS[to] if find_spec(name) is None]:
        raise UsageError(f"--to {to} needs {', '.join(missing)}: pip install 'permafrost[export]'")


def _at_most(images: NamedImages, count: int) -> NamedImages:
    if len(images.names) > count:
        chosen = [i * len(images.names) // count for i in range(count)]
        warn(f"{count} of the {len(images.names)} images are compared")
        images.names, images.locations = [images.names[i] for i in chosen], [images.locations[i] for i in chosen]
    return images


def _print(out: Path, to: str, exported: ExportedModel, parity: Sequence[Parity]) -> None:
    rows = [(each.input, each.images, f"{each.worst:.2g}", each.worst_image, each.other_class, len(each.refused)) for each in parity]
    print_table(["input", "images", "worst difference", "of", "other class", "refused"], rows)
    print()
    size = sum(entry["bytes"] for entry in describe_files(out))
    takes = f"uint8 images of {exported.kind.size} pixels by {exported.kind.policy}"
    pairs = [("format", to), ("takes", takes), ("gives", f"probabilities of {len(exported.classes)} classes")]
    print_pairs([*pairs, ("folder", f"{out} ({human_bytes(size)})")])
