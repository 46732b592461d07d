"""`permafrost runs`: what runs, ran and broke off in a store, and how to stop one."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from scripts.console import print_json, print_table
from storage.catalog import set_names
from storage.errors import NotFoundError, UsageError
from storage.feature_set import read_description
from storage.files import exists, list_names
from storage.names import SetName, parse_root, parse_set
from storage.run_status import RunStatus
from storage.run_watch import cancel_run, run_statuses
from storage.store import STORE_FILE, require_store


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "runs", help="which extractions run, ended or broke off; stop one", epilog="example: permafrost runs status features"
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    text = "list the runs of a set, or of all sets of a store, oldest first"
    status = actions.add_parser("status", help=text, description=text, epilog="example: permafrost runs status features/me/photos")
    status.add_argument("target", metavar="ROOT[/TEAM/SET]", help="a store folder, or a feature set in it")
    status.set_defaults(run=run_status)
    text = "ask a running extraction to stop, on whatever machine it runs; what it has finished is kept"
    example = "example: permafrost runs cancel features/me/photos 20260131T120000Z-0a1b2c3d"
    cancel = actions.add_parser("cancel", help=text, description=text, epilog=example)
    cancel.add_argument("target", metavar="ROOT/TEAM/SET", help="the feature set")
    cancel.add_argument("run_id", metavar="RUN", help="the run, as `permafrost runs status` names it")
    cancel.set_defaults(run=run_cancel)
    for action in (status, cancel):
        action.add_argument("--json", action="store_true", help="print one JSON document")


def run_status(args: argparse.Namespace) -> int:
    found = [(name, status) for name in _sets(args.target) for status in run_statuses(name)]
    if args.json:
        print_json({"target": args.target, "runs": [{"set": _short(name), **asdict(status)} for name, status in found]})
        return 0
    rows = [(_short(name), s.run, s.state, _moment(s.started), s.host or "?", _progress(s), _rate(s), _outcome(s)) for name, s in found]
    print_table(["set", "run", "state", "started (UTC)", "host", "read", "images/s", "outcome"], rows)
    return 0


def run_cancel(args: argparse.Namespace) -> int:
    name = _one_set(args.target)
    status = cancel_run(name, args.run_id)
    if args.json:
        print_json({"set": _short(name), **asdict(status)})
    else:
        print(f"asked run {status.run} on {status.host} to stop; it does within seconds: permafrost runs status {name}")
    return 0


def _sets(target: str) -> list[SetName]:
    place = parse_root(target)
    if exists(place / STORE_FILE):
        require_store(place)
        return set_names(place)
    if exists(place.parent / STORE_FILE):
        if not list_names(place):
            raise NotFoundError(f"the store {place.parent} has no team {place.name}")
        raise UsageError(f"{target} is a team: name the store, {place.parent}, or one of the team's sets")
    try:
        name = parse_set(target)
    except UsageError:
        require_store(place)  # says that it is no store, which is likelier to help
        raise
    if not exists(name.root / STORE_FILE):
        raise NotFoundError(f"expected a feature store or a set in one, got {target}: neither it nor {name.root} has a {STORE_FILE}")
    return [_one_set(target)]


def _one_set(target: str) -> SetName:
    name = parse_set(target)
    if name.at:
        raise UsageError(f"{target}: runs belong to a set, not to a version; leave out '@{name.at}'")
    require_store(name.root)
    read_description(name)
    return name


def _short(name: SetName) -> str:
    return f"{name.team}/{name.name}"


def _moment(text: str | None) -> str:
    return text[:19].replace("T", " ") if text else "?"


def _progress(status: RunStatus) -> str:
    return "?" if status.done is None else f"{status.done} of {status.total}"


def _rate(status: RunStatus) -> str:
    return f"{status.images_per_second:.0f}" if status.images_per_second else ""


def _outcome(status: RunStatus) -> str:
    """A finished run's account, or what there is to say of another one, in one line."""
    if status.counts:
        rows, rejected, pending = (status.counts.get(name, 0) for name in ("rows", "rejected", "pending"))
        return f"version {status.version}: {rows} rows + {rejected} rejected + {pending} pending"
    return " ".join(status.message.split())
