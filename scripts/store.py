"""`permafrost store`: what a store and a set hold; store_rejects.py, store_export.py and store_import.py are further actions."""

from __future__ import annotations

import argparse
from dataclasses import asdict

import storage
from scripts import (
    store_copy,
    store_diff,
    store_export,
    store_import,
    store_init,
    store_rejects,
    store_tag,
    store_takedown,
    store_upkeep,
    store_verify,
)
from scripts.console import human_bytes, print_json, print_pairs, print_table
from storage.catalog import list_manifests, list_sets
from storage.feature_set import FeatureSet, SetDescription
from storage.names import parse_root
from storage.queries import duckdb_query, h5py_snippet, polars_query
from storage.stated_space import STATED


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("store", help="look into a feature store", epilog="example: permafrost store ls features")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    for name, function, argument, text in (
        ("ls", run_ls, "ROOT", "list the sets of a store"),
        ("show", run_show, "ROOT/TEAM/SET[@VERSION|@TAG]", "what a set is, holds, and how to query it"),
        ("versions", run_versions, "ROOT/TEAM/SET", "list the versions of a set"),
    ):
        example = "features" if name == "ls" else "features/me/photos"
        action = actions.add_parser(name, help=text, description=text, epilog=f"example: permafrost store {name} {example}")
        action.add_argument("target", metavar=argument)
        action.add_argument("--json", action="store_true", help="print one JSON document")
        action.set_defaults(run=function)
    store_init.add_action(actions)
    store_tag.add_action(actions)
    store_diff.add_action(actions)
    store_verify.add_action(actions)
    store_copy.add_action(actions)
    store_upkeep.add_action(actions)
    store_takedown.add_action(actions)
    store_rejects.add_action(actions)
    store_export.add_action(actions)
    store_import.add_action(actions)


def run_ls(args: argparse.Namespace) -> int:
    sets = list_sets(parse_root(args.target))
    if args.json:
        print_json({"store": args.target, "sets": [asdict(summary) for summary in sets]})
        return 0
    rows = [
        (s.name, s.version or "none", s.rows, _shape(s.shape), s.dtype, s.backbone, s.space_id[:12], human_bytes(s.bytes), s.created)
        for s in sets
    ]
    print_table(["set", "version", "rows", "shape", "dtype", "backbone", "space", "size", "changed"], rows)
    return 0


def run_show(args: argparse.Namespace) -> int:
    feature_set = storage.open(args.target)
    if args.json:
        print_json({"set": feature_set.description.to_dict(), "manifest": feature_set.manifest.to_dict()})
    else:
        _print_set(feature_set)
    return 0


def run_versions(args: argparse.Namespace) -> int:
    manifests = list_manifests(args.target)
    if args.json:
        print_json({"set": args.target, "versions": [manifest.to_dict() for manifest in manifests]})
        return 0
    rows = [
        (m.version, m.created, m.counts["rows"], m.counts["rejected"], m.counts["pending"], len(m.shards), human_bytes(m.counts["bytes"]))
        for m in manifests
    ]
    print_table(["version", "created", "rows", "rejected", "pending", "shards", "size"], rows)
    return 0


def _print_set(feature_set: FeatureSet) -> None:
    description, manifest, counts = feature_set.description, feature_set.manifest, feature_set.manifest.counts
    print_pairs(
        [
            ("set", feature_set.name.folder),
            ("version", f"{manifest.version} of {manifest.created}"),
            ("rows", f"{counts['rows']} ({counts['rejected']} rejected, {counts['pending']} pending)"),
            (
                "embeddings",
                f"{counts['embeddings']} of shape {_shape(description.shape)} {description.dtype}, {human_bytes(counts['bytes'])}",
            ),
            *_views(feature_set),
            ("backbone", _backbone(description)),
            ("feature space", feature_set.space.id),
            ("environment", ", ".join(f"{k} {v}" for k, v in manifest.provenance.get("environment", {}).items())),
        ]
    )
    rows = [(name, s.source, s.listed, s.rows, s.rejected, s.pending) for name, s in manifest.corpora.items()]
    print()
    print_table(["corpus", "source", "listed", "rows", "rejected", "pending"], rows)
    if description.shard_format == "hdf5":
        print(f"\nh5py:\n{h5py_snippet(feature_set)}")
    else:
        print(f"\nDuckDB:\n{duckdb_query(feature_set)}\n\nPolars:\n{polars_query(feature_set)}")


def _views(feature_set: FeatureSet) -> list[tuple[str, str]]:
    if len(feature_set.views) == 1:
        return []
    seed = feature_set.space.view_seed
    named = ", ".join(f"{number} {view}" for number, view in enumerate(feature_set.views))
    return [("views", named + (f"; seed {seed}" if seed is not None else ""))]


def _backbone(description: SetDescription) -> str:
    recipe, space = description.backbone, description.space
    if recipe["name"] == STATED:
        return ", ".join(["stated only", *(f"{name} {value}" for name, value in recipe.get("statement", {}).items())])
    cut = f", cut at {recipe['layer']}" if recipe.get("layer") else ""
    return f"{recipe['name']}, weights {recipe['weights']}{cut}, pooling {space.pooling}, input {space.input_size} px"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
