"""`permafrost store verify` and `repair`: proof that a set is what its versions say, and what to do where it is not."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict

from scripts.console import human_bytes, print_json, print_pairs, print_table, progress
from storage.finding import Finding, Verification
from storage.names import SetName, parse_root, parse_set
from storage.repair import is_restored, repair_set
from storage.store import is_behind_web
from storage.verify import verify_set
from storage.way_out import ways_out, ways_to_pending

EXIT_DAMAGED = 3


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "check all files of a set: names and sizes, or every byte"
    action = actions.add_parser("verify", help=text, description=text, epilog="example: permafrost store verify features/me/photos --full")
    action.add_argument("target", metavar="ROOT/TEAM/SET")
    action.add_argument("--full", action="store_true", help="read every byte; without it, names and sizes only")
    action.add_argument("--json", action="store_true", help="print one JSON document")
    action.set_defaults(run=run_verify)

    text = "mend damaged and missing files of a set from copies of its store"
    example = "example: permafrost store repair features/me/photos --from /backup/features"
    action = actions.add_parser("repair", help=text, description=text, epilog=example)
    action.add_argument("target", metavar="ROOT/TEAM/SET")
    action.add_argument(
        "--from", dest="copies", metavar="ROOT", action="append", default=[], help="a store that has the set too; repeatable"
    )
    action.add_argument(
        "--give-up",
        action="store_true",
        help="what no copy has: remove damaged shards, and make a version in which items of damaged shards and item files are pending, so "
        "that `extract` or `store import --pending` makes them again; let lost and damaged versions go, with the tags that mean them",
    )
    action.add_argument("--json", action="store_true", help="print one JSON document")
    action.set_defaults(run=run_repair, goes_on=True)


def run_verify(args: argparse.Namespace) -> int:
    name = parse_set(args.target)
    with progress("verifying", "reading the versions") as show:
        found = verify_set(name, args.full, show)
    if args.json:
        print_json({"set": str(name), **_plain(found)})
    else:
        print_pairs([("set", name), *_summary(found)])
        _print_findings(found.findings)
        if _may_be_in_copies(found):
            print(f"\nmend it from a copy of the store: {_repair_of(name)}")
    return 0 if found.sound else EXIT_DAMAGED


def run_repair(args: argparse.Namespace) -> int:
    name = parse_set(args.target)
    repair = repair_set(name, [parse_root(root) for root in args.copies], args.give_up)
    lost = any(path.startswith("versions/") for path in repair.given_up)
    again = ["what only the versions held that were given up comes back when it is extracted or imported again"] if lost else []
    next_steps = [*again, *ways_to_pending(name), *ways_out(name, repair.left)] if args.give_up else []
    if args.json:
        mended = [{"path": path, "from": where} for path, where in repair.mended]
        done = {
            "mended": mended,
            "taken_out": list(repair.taken_out),
            "given_up": list(repair.given_up),
            "version": repair.version,
            "next_steps": next_steps,
        }
        print_json({"set": str(name), **done, "left": _plain(repair.left)})
        return 0 if repair.left.sound else EXIT_DAMAGED
    version = [("new version", f"{repair.version}, without what was damaged or lost")] if repair.version else []
    removed = [("given up", ", ".join(repair.given_up))] if repair.given_up else []
    out = [("taken out", f"{len(repair.taken_out)} files that held what was taken down")] if repair.taken_out else []
    print_pairs([("set", name), ("mended files", len(repair.mended)), *out, *removed, *version, *_summary(repair.left)])
    _print_findings(repair.left.findings)
    if next_steps:
        print("", *(f"- {step}" for step in next_steps), sep="\n")
    elif _may_be_in_copies(repair.left):
        print("\nname a copy of the store with --from, or let go with --give-up what nobody has")
    return 0 if repair.left.sound else EXIT_DAMAGED


def _may_be_in_copies(found: Verification) -> bool:
    """Whether there is damage for which a copy is the first way out; a finding of the other kind tells its own."""
    return any(finding.is_damage and finding.kind != "unfinished" for finding in found.findings)


def _repair_of(name: SetName) -> str:
    """The command, or where to give it."""
    if not is_behind_web(name.root):
        return f"permafrost store repair {name} --from ROOT"
    return f"permafrost store repair ROOT/{name.team}/{name.name} --from COPY, where the store's own folder or bucket is"


def _summary(found: Verification) -> list[tuple[str, object]]:
    how = "every byte was read" if found.full else "names and sizes only: --full reads every byte"
    return [
        ("files", f"{found.files} ({human_bytes(found.bytes)}), {how}"),
        ("result", "sound" if found.sound else "; ".join(_counts(found))),
    ]


def _counts(found: Verification) -> Iterator[str]:
    damage = [finding for finding in found.findings if finding.is_damage]
    restored, takedowns = sum(map(is_restored, damage)), sum(finding.kind == "unfinished" for finding in damage)
    if other := len(damage) - takedowns:
        yield f"{other} files are damaged or missing"
    if restored:
        yield f"{restored} files hold what was taken down"
    if takedowns > restored:
        yield f"{takedowns - restored} takedowns are unfinished"


def _print_findings(findings: tuple[Finding, ...]) -> None:
    if findings:
        print()
        print_table(["what", "file", "versions", "items", "why"], [_told(finding) for finding in findings])


def _told(finding: Finding) -> tuple[str, str, str, str, str]:
    items = max(finding.items.values(), default=0)
    return finding.kind, finding.path, ",".join(map(str, finding.versions)), str(items or ""), finding.message


def _plain(found: Verification) -> dict[str, object]:
    findings = [{**asdict(finding), "versions": list(finding.versions), "items": dict(finding.items)} for finding in found.findings]
    return {"files": found.files, "bytes": found.bytes, "full": found.full, "sound": found.sound, "findings": findings}
