"""`permafrost doctor`: what this machine, its GPUs, Ray and stores can do, and what fewer bits gain and cost on a corpus."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

from extractor.recipe import PRECISIONS
from scripts.backbone_options import add_backbone_options, make_recipe
from scripts.console import counted, counts_text, human_bytes, import_tensorflow, print_json, print_pairs, print_table
from scripts.label_options import add_label_options, require_labels
from scripts.machine import engines, gpus, libraries, machine
from storage.errors import PermafrostError, UsageError
from storage.examine import examine_store
from storage.names import parse_root

EXIT_UNSOUND = 1


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="what this machine, its GPUs, Ray and a store can do",
        description="Say what there is to work with: cores, memory, GPUs, libraries, engines and precisions; whether Ray starts, or a "
        "cluster answers; what stores allow. With --images also what fewer bits gain and cost: speed, cosine, and a head's accuracy.",
        epilog="example: permafrost doctor features --images photos --backbone mobilenet_v2",
    )
    parser.add_argument("store", metavar="ROOT", nargs="*", help="stores to try: folders, buckets, or roots behind a web server")
    parser.add_argument("--ray", metavar="ADDRESS", help="a cluster to ask (default: start a private one on this machine, and end it)")
    parser.add_argument("--no-ray", action="store_true", help="leave Ray out")
    trial = parser.add_argument_group("fewer bits")
    trial.add_argument(
        "--images", metavar="CORPUS", help="embed these in each precision that can be had here, as often as there are precisions"
    )
    trial.add_argument("--backbone", metavar="NAME", default="", help="the network, as for extract")
    trial.add_argument(
        "--precisions", metavar="A,B,...", help=f"of {', '.join(PRECISIONS)} (default: what this machine computes fast, and can be had)"
    )
    add_backbone_options(trial)
    add_label_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if bool(args.images) != bool(args.backbone):
        raise UsageError("--images CORPUS and --backbone NAME go together: images to embed, and the network that does it")
    if args.no_ray and args.ray:
        raise UsageError("--ray ADDRESS asks a cluster, --no-ray leaves Ray out: choose one")
    if not args.images and (args.labels or args.precisions):
        raise UsageError("--labels and --precisions are about images to embed: name them with --images CORPUS and --backbone NAME")
    require_labels(args.labels)
    recipe = make_recipe(args) if args.backbone else None
    import_tensorflow()
    found: dict[str, Any] = {"machine": machine(), "libraries": libraries(), "gpus": gpus()}
    found["engines"] = engines(on_gpu=bool(found["gpus"]))
    if not args.no_ray:
        with redirect_stdout(sys.stderr):
            found["ray"] = _ray(args.ray)
    found["stores"] = [_store(root) for root in args.store]
    if recipe is not None:
        from scripts.precision_trial import asked_precisions, try_precisions

        precisions = asked_precisions(args.precisions, found["machine"]["computes_fast"], found["engines"])
        found["precisions"] = try_precisions(args.images, recipe, precisions, args)
    if args.json:
        print_json(found)
    else:
        _print(found)
    unsound = [*found["stores"], *([found["ray"]] if "ray" in found else [])]
    return EXIT_UNSOUND if any("error" in each for each in unsound) else 0


def _ray(address: str | None) -> dict[str, Any]:
    from extractor.ray_executor import nodes_of

    try:
        nodes = nodes_of(address)
    except PermafrostError as error:
        return {"address": address or "", "error": str(error)}
    of_each = [{"address": node.address, "cpus": node.cpus, "gpus": node.gpus} for node in nodes]
    return {"address": address or "", "nodes": of_each}


def _store(text: str) -> dict[str, Any]:
    try:
        return {"store": text, **examine_store(parse_root(text))}
    except (PermafrostError, OSError) as error:
        return {"store": text, "error": str(error)}


def _print(found: dict[str, Any]) -> None:
    of_machine = found["machine"]
    graphics = ", ".join(f"{gpu['name']} (compute capability {gpu['compute_capability']})" for gpu in found["gpus"])
    pairs: list[tuple[str, object]] = [
        ("system", f"{of_machine['system']}; Python {of_machine['python']}"),
        ("processor", f"{of_machine['processor']}, {of_machine['cores']} cores; in hardware: {', '.join(of_machine['computes_fast'])}"),
        ("memory", human_bytes(of_machine["memory_bytes"])),
        ("temporary", f"{of_machine['temporary_folder']}, {human_bytes(of_machine['temporary_free_bytes'])} free"),
        ("GPUs", graphics or "none that TensorFlow sees"),
        ("libraries", ", ".join(f"{name} {number}" for name, number in found["libraries"].items())),
    ]
    pairs += [(f"engine {each['engine']}", _engine_told(each)) for each in found["engines"]]
    if "ray" in found:
        pairs.append(("Ray", _ray_told(found["ray"])))
    pairs += [(f"store {each['store']}", _store_told(each)) for each in found["stores"]]
    print_pairs(pairs)
    if "precisions" in found:
        print()
        _print_precisions(found["precisions"])


def _engine_told(engine: dict[str, Any]) -> str:
    if not engine["usable"]:
        return f"not installed: {engine['way_out']}"
    return f"{engine['devices']}: {', '.join(engine['precisions'])}"


def _ray_told(of_ray: dict[str, Any]) -> str:
    if "error" in of_ray:
        return str(of_ray["error"])
    nodes = of_ray["nodes"]
    which = f"the cluster at {of_ray['address']}" if of_ray["address"] else "a private cluster starts"
    cpus, graphics = (sum(node[kind] for node in nodes) for kind in ("cpus", "gpus"))
    return f"{which}: {len(nodes)} node{'s' * (len(nodes) != 1)}, {cpus:g} CPUs, {graphics:g} GPUs"


def _store_told(store: dict[str, Any]) -> str:
    if "error" in store:
        return str(store["error"])
    writers = f"can be written, several writers are safe; {store['create_ms']:.1f} ms to create a name"
    return f"{store['kind']}, {store['sets']} sets; {writers if store['writable'] else 'to be read only: ' + store['why']}"


def _print_precisions(rows: Sequence[dict[str, Any]]) -> None:
    table = [
        (
            row["precision"],
            row["engine"],
            f"{row['images_per_second']:.1f}",
            f"{row['cosine_least']:.4f}",
            f"{row['cosine_median']:.4f}",
            f"{row['accuracy']:.3f}" if "accuracy" in row else "not known",
            _difference_told(row),
        )
        for row in rows
    ]
    print_table(["precision", "engine", "images/s", "least cosine", "median", "accuracy of a head", "minus float32's (95%)"], table)
    of_images = counted(rows[0]["images"], "image")
    print(f"{of_images}; not embedded: {counts_text(rows[0]['rejected'])}" if rows[0]["rejected"] else of_images)
    if "c" in rows[0]:
        print(f"all heads with C {rows[0]['c']:g}, which validation chose on {rows[0]['precision']}")


def _difference_told(row: dict[str, Any]) -> str:
    if "difference" not in row:
        return ""
    low, high = row["difference_interval"]
    return f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
