"""`permafrost export`: one model that takes images, from a head and its network, in the format of a serving library."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.console import counts_text, human_bytes, import_tensorflow, print_json, print_pairs, print_table, quiet_native, warn
from scripts.export_folder import check_export_target, describe_files, new_export, write_description
from scripts.named_images import NamedImages, name_images
from scripts.predict import recipe_of, require_head
from storage.errors import UsageError
from storage.files import read_json
from storage.files import sha256_of as sha256_of_file

if TYPE_CHECKING:
    from scripts.export_model import ExportedModel
    from scripts.export_parity import Parity
    from trainer import Head

EXPORT_FORMAT = 1
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
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write; an older export there is replaced")
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
    from scripts.export_formats import FORMATS
    from scripts.export_model import join
    from scripts.export_parity import measure_parity, require_parity
    from scripts.export_sample import take_sample

    head = trainer.load_head(Path(args.head))
    recipe = recipe_of(head, moved)
    sample = take_sample(head, recipe, images)
    exported = join(head, recipe)
    with new_export(out) as folder:
        with quiet_native():
            FORMATS[args.to].write(exported, folder)
            parity = measure_parity(FORMATS[args.to], folder, sample, exported.kind)
        require_parity(parity, args.to)
        write_description(folder, _describe(args.to, head, exported, parity))
    for reject in images.rejects:
        warn(f"not compared: {reject['image']}: {reject['reason']}: {reject['message']}")
    if images.skipped:
        warn(f"names that are no images were passed over: {counts_text(images.skipped)}")
    if args.json:
        print_json({**read_json(out / "export.json", "description of an export"), "out": str(out)})
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


def _describe(to: str, head: Head, exported: ExportedModel, parity: Sequence[Parity]) -> dict[str, Any]:
    """What `export.json` says beside the files."""
    from extractor.encoded_in_graph import CARRIED, NOT_CARRIED
    from scripts.export_formats import FORMATS

    carries_bytes = to == "savedmodel"
    resizes = ["resizing and rounding"] if FORMATS[to].any_size else []
    return {
        "format": EXPORT_FORMAT,
        "to": to,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes": list(exported.classes),
        "multi_label": head.task.multi_label,
        "input_size": exported.kind.size,
        "image_policy": exported.kind.policy,
        "image_policy_carried": list(CARRIED) if carries_bytes else resizes,
        "image_policy_not_carried": list(NOT_CARRIED) if carries_bytes else _left_to_the_client(bool(resizes)),
        "preprocessing": head.space.preprocessing,
        "strategy": head.description.get("strategy", "feature-extraction"),
        "space_id": head.space.id,
        "head": {
            "set": head.fitted_on,
            "version": head.version,
            "model_sha256": head.description["model_sha256"],
            "description_sha256": sha256_of_file(head.folder / "head.json"),
        },
        "temperature": head.temperature,
        "parity": [each.to_dict() for each in parity],
        "libraries": {name: version(name) for name in ("tensorflow", "keras", *map(_distribution, NEEDS[to]))},
    }


def _left_to_the_client(resizes: bool) -> list[str]:
    """Of the image policy, by a model that takes pixels."""
    decoding = "decoding: EXIF orientation, colours, transparency over white, a large JPEG at a DCT scale"
    return [decoding] if resizes else [decoding, "resizing to the input size, rounded to uint8"]


def _distribution(module: str) -> str:
    return module.replace("_", "-")


def _print(out: Path, to: str, exported: ExportedModel, parity: Sequence[Parity]) -> None:
    rows = [(each.input, each.images, f"{each.worst:.2g}", each.worst_image, each.other_class, len(each.refused)) for each in parity]
    print_table(["input", "images", "worst difference", "of", "other class", "refused"], rows)
    print()
    size = sum(entry["bytes"] for entry in describe_files(out))
    takes = f"uint8 images of {exported.kind.size} pixels by {exported.kind.policy}"
    pairs = [("format", to), ("takes", takes), ("gives", f"probabilities of {len(exported.classes)} classes")]
    print_pairs([*pairs, ("folder", f"{out} ({human_bytes(size)})")])
