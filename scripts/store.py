"""`permafrost store`: what a store and a set hold; store_rejects.py, store_export.py and store_import.py are further actions."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import PurePath

import storage
from scripts import (
    store_card,
    store_copy,
    store_diff,
    store_export,
    store_import,
    store_init,
    store_items,
    store_rejects,
    store_tag,
    store_takedown,
    store_upkeep,
    store_verify,
)
from scripts.console import human_bytes, print_json, print_pairs, print_table, visible, warn
from scripts.store_tag import warn_of_tags
from scripts.store_verify import EXIT_DAMAGED
from storage.asked_version import lost_in_words, lost_versions
from storage.card import Card, read_card
from storage.catalog import SetQuery, look_through, look_through_versions
from storage.expected_versions import read_hint
from storage.feature_set import FeatureSet
from storage.heads import HeadNote, heads_on
from storage.names import parse_root, parse_set
from storage.queries import duckdb_query, h5py_snippet, polars_query
from storage.versions import Tag, list_versions, look_through_tags
from storage.words import backbone_in_words, origin_in_words, shape_in_words, views_in_words


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
        if name == "ls":
            _add_search(action)
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
    store_items.add_action(actions)
    store_card.add_action(actions)


def _add_search(action: argparse.ArgumentParser) -> None:
    group = action.add_argument_group("search: all that is given must hold; texts are found anywhere, or are patterns with * and ?")
    group.add_argument("--name", metavar="TEXT", help="of TEAM/SET, such as products or '*/resnet*'")
    group.add_argument("--backbone", metavar="TEXT", help="of the network, its weights and cut, such as resnet50 or imagenet")
    group.add_argument("--space", metavar="ID", help="the beginning of a feature space's id")
    group.add_argument("--corpus", metavar="TEXT", help="of the id or source of a corpus in the set")


def run_ls(args: argparse.Namespace) -> int:
    found = look_through(parse_root(args.target), SetQuery(args.name, args.backbone, args.space, args.corpus))
    for each in found.sets:
        if each.lost:
            warn(lost_in_words(parse_set(f"{args.target}/{each.name}"), each.lost))
    if args.json:
        damaged = [{"name": name, "message": why} for name, why in found.damaged.items()]
        print_json({"store": args.target, "sets": [asdict(summary) for summary in found.sets], "damaged": damaged})
        return EXIT_DAMAGED if damaged else 0
    rows = [
        (
            s.name,
            s.version or "none",
            s.rows,
            shape_in_words(s.shape),
            s.dtype,
            PurePath(s.backbone).name,
            s.space_id[:12],
            human_bytes(s.bytes),
            visible(", ".join(s.corpora)),
            visible(s.owner),
            s.created,
        )
        for s in found.sets
    ]
    print_table(["set", "version", "rows", "shape", "dtype", "backbone", "space", "size", "corpora", "owner", "changed"], rows)
    if found.damaged:
        print()
        print_table(["damaged set", "why"], [(name, visible(why)) for name, why in found.damaged.items()])
    return EXIT_DAMAGED if found.damaged else 0


def run_show(args: argparse.Namespace) -> int:
    feature_set = storage.open(args.target)
    card, heads = read_card(feature_set.name), heads_on(feature_set.name)
    tags, damaged = look_through_tags(feature_set.name)
    warn_of_tags(damaged)
    if args.json:
        of_set = {**feature_set.description.to_dict(), "card": asdict(card)}
        name = feature_set.name
        lost = lost_versions(name, list_versions(name.folder), read_hint(name))
        further = {
            "tags": {tag.name: tag.version for tag in tags},
            "heads": [asdict(head) for head in heads],
            "lost": list(lost),
            "damaged_tags": damaged,
        }
        print_json({"set": of_set, "manifest": feature_set.manifest.to_dict(), **further})
    else:
        _print_set(feature_set, card, tags, heads)
    return 0


def run_versions(args: argparse.Namespace) -> int:
    manifests, damaged = look_through_versions(args.target)
    name = parse_set(args.target)
    tags, damaged_tags = look_through_tags(name)
    warn_of_tags(damaged_tags)
    named = {m.version: [tag.name for tag in tags if tag.version == m.version] for m in manifests}
    if args.json:
        lost = lost_versions(name, [*named, *damaged], read_hint(name)) if named else ()
        told = [{**m.to_dict(), "tags": named[m.version]} for m in manifests]
        unread = [{"version": version, "message": why} for version, why in damaged.items()]
        print_json({"set": args.target, "versions": told, "damaged": unread, "lost": list(lost)})
        return EXIT_DAMAGED if damaged else 0
    rows = [
        (
            m.version,
            m.created,
            m.counts["rows"],
            m.counts["rejected"],
            m.counts["pending"],
            len(m.shards),
            human_bytes(m.counts["bytes"]),
            origin_in_words(m.provenance),
            ", ".join(named[m.version]),
        )
        for m in manifests
    ]
    print_table(["version", "created", "rows", "rejected", "pending", "shards", "size", "made by", "tags"], rows)
    if damaged:
        print()
        print_table(["damaged version", "why"], [(version, visible(why)) for version, why in damaged.items()])
    return EXIT_DAMAGED if damaged else 0


def _print_set(feature_set: FeatureSet, card: Card, tags: Sequence[Tag], heads: Sequence[HeadNote]) -> None:
    description, manifest, counts = feature_set.description, feature_set.manifest, feature_set.manifest.counts
    here = [tag.name for tag in tags if tag.version == manifest.version]
    shards = f"{len(manifest.shards)} {description.shard_format} shards"
    texts = [(name, visible(text)) for name, text in (("owner", card.owner), ("licence", card.licence)) if text]
    print_pairs(
        [
            ("set", feature_set.name.folder),
            *([("description", visible(card.description.partition("\n")[0]))] if card.description else []),
            *texts,
            ("version", f"{manifest.version} of {manifest.created}" + (f", tagged {', '.join(here)}" if here else "")),
            ("made by", origin_in_words(manifest.provenance)),
            ("rows", f"{counts['rows']} ({counts['rejected']} rejected, {counts['pending']} pending)"),
            (
                "embeddings",
                f"{counts['embeddings']} of shape {shape_in_words(description.shape)} {description.dtype}, {human_bytes(counts['bytes'])} "
                f"in {shards}",
            ),
            *([("views", views)] if (views := views_in_words(description)) else []),
            ("backbone", backbone_in_words(description)),
            ("feature space", feature_set.space.id),
            ("environment", ", ".join(f"{k} {v}" for k, v in manifest.provenance.get("environment", {}).items())),
        ]
    )
    rows = [(name, s.source or "by hand", s.listed, s.rows, s.rejected, s.pending) for name, s in manifest.corpora.items()]
    print()
    print_table(["corpus", "source", "listed", "rows", "rejected", "pending"], rows)
    if heads:
        print()
        good = [", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in head.metrics.items()) for head in heads]
        told = [(h.name, h.kind, h.classes, h.version or "", f"{text} ({h.split})") for h, text in zip(heads, good, strict=True)]
        print_table(["head", "kind", "classes", "version", "how good"], told)
    if description.shard_format == "hdf5":
        print(f"\nh5py:\n{h5py_snippet(feature_set)}")
    else:
        print(f"\nDuckDB:\n{duckdb_query(feature_set)}\n\nPolars:\n{polars_query(feature_set)}")
