"""The command `permafrost`: parsing, exit codes, and errors in words. Exit 0 done, 1 failed, 2 wrong usage, 3 done but incomplete.

130 interrupted: by Ctrl-C, or by SIGTERM, which ends a run in the same way (`extractor.grace`) and with the same words.
"""

from __future__ import annotations

import argparse
import atexit
import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from extractor.executor import WORKER_THREAD
from extractor.grace import Interrupts
from extractor.lean_imports import import_lean
from scripts import advise, cuts, doctor, evaluate, export, extract, layers, leaderboard, predict, runs, store, sweep, train
from scripts.console import print_json, warn
from scripts.recipes import expanded
from scripts.words import Parser, WrongWordsError
from storage.errors import HungError, PermafrostError, UsageError
from storage.patience import FULL

_REFUSED = frozenset({errno.EACCES, errno.EPERM})
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


@cache  # 9 ms: a program that runs many commands, as the tests do, need not pay for each
def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="permafrost",
        description="Embed each image once with a frozen network, keep the features, train heads in seconds.",
        epilog="example: permafrost extract photos features/me/photos --backbone mobilenet_v2",
    )
    parser.add_argument("--version", action="version", version=f"permafrost {version('permafrost')}")
    parser.set_defaults(goes_on=False)  # a command that keeps what it has finished, and goes on from there, sets it
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (extract, layers, cuts, train, advise, sweep, evaluate, leaderboard, predict, export, runs, store, doctor):
        module.add_command(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if sys.stdout is None:  # the shell closed it (>&-)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        words, told = expanded(words)
        args = build_parser().parse_args(words)
    except WrongWordsError as error:
        print(error.usage, end="", file=sys.stderr)
        return _fail(str(error), "--json" in words, EXIT_USAGE)
    except UsageError as error:
        return _fail(str(error), "--json" in words, EXIT_USAGE)
    if told:
        warn(told)
    for package in ("extractor", "storage"):
        _show_notes_of(package)
    interrupts = Interrupts()
    signal.signal(signal.SIGTERM, interrupts)  # clean up and say so, as for Ctrl-C
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell has it for what runs in the background
        signal.signal(signal.SIGINT, interrupts)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt) as error:
        if interrupts.came or isinstance(error, KeyboardInterrupt):
            left = "what was finished is kept, run the same command again to go on" if args.goes_on else "nothing is kept to go on from"
            return _fail(f"interrupted; {left}", args.json, EXIT_INTERRUPTED)
        if (failed := _failed(error, args)) is None:
            raise
        return failed


def _failed(error: Exception, args: argparse.Namespace) -> int | None:
    """Tells it in words; None for what is nobody's mistake but ours."""
    if isinstance(error, HungError):
        _fail(str(error), args.json, EXIT_FAILED)
        sys.stdout.flush()
        os._exit(EXIT_FAILED)  # Python would wait for the threads that read
    if isinstance(error, PermafrostError):
        return _fail(str(error), args.json, EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED)
    if isinstance(error, UnicodeEncodeError):  # a word of the command line, or of a file, with half a character
        return _fail(f"text that is not valid UTF-8: {ascii(error.object)[:80]}", args.json, EXIT_USAGE)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # a pager was closed: nothing to say
        return EXIT_FAILED
    if isinstance(error, OSError):  # no room, no permission, a network folder gone: the user's to mend, with the file named
        return _fail(_in_words(error, args.goes_on), args.json, EXIT_FAILED)
    return None


def run() -> NoReturn:
    """The program, which leaves at once when all is said. Taking Python and TensorFlow apart takes 1.1 s more, and aborts (exit code 134)
    where a thread of TensorFlow, or once one of pyarrow's reader of label files, still works."""
    import_lean()
    code = main()
    for number in (signal.SIGINT, signal.SIGTERM):
        if isinstance(signal.getsignal(number), Interrupts):
            signal.signal(number, signal.SIG_DFL)  # there is nothing left to be told: what is waited for at the end is left at once
    if not any(thread.name == WORKER_THREAD for thread in threading.enumerate()):
        atexit._run_exitfuncs()  # Ray's ends the private cluster of a run that failed
    with suppress(OSError):  # what could not be printed has been told
        sys.stdout.flush()
    os._exit(code)


def _in_words(error: OSError, goes_on: bool) -> str:
    """With the file, or the folder of one that is private to a writer, and the way out."""
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else None
    where = f" ({path.parent if path.name.startswith('.') else path})" if path else ""
    told = f"{error.strerror or error}{where}"
    if error.errno in FULL:
        kept = "what was finished is kept, " if goes_on else ""
        return f"{told}: no room is left there; {kept}run the same command again when there is room"
    if error.errno in _REFUSED:
        return (
            f"{told}: this user may not do that there. Reading a store takes no right to write, changing it does: run it as one who has it"
        )
    if error.errno == errno.EROFS:
        return f"{told}: nothing can be written there. A store can be read all the same; to change it, name it where it can be written"
    return told


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


def _show_notes_of(package: str) -> None:
    """Warnings that a package logs look like all other notes."""
    logger = logging.getLogger(package)
    if not logger.handlers:
        logger.addHandler(_Notes())


def _fail(message: str, as_json: bool, code: int) -> int:
    if as_json:
        print_json({"error": message, "exit_code": code})
    print(f"permafrost: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    run()
