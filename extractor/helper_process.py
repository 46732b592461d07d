"""A decode helper in a process of its own, and what workers have of it. Knows nothing of Ray; checks the code before TensorFlow comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from extractor.code_version import require_same_code, versions_here
from extractor.decode_helper import DecodedFiles, ReadFiles
from extractor.device import prepare_process
from extractor.input_kind import InputKind
from extractor.lean_imports import keeping_all
from extractor.limits import Limits


class HelperProcess:
    """where: the node's address, for messages. Serves several threads at a time."""

    def __init__(self, threads: int, where: str) -> None:
        self._threads, self._where = threads, where
        self._helper: Any = None
        self._preparing = threading.Lock()

    def prepare(self, versions: Mapping[str, str]) -> None:
        """versions: the driver's. Raises CodeMismatchError."""
        with self._preparing:
            if not self._helper:
                require_same_code(versions, versions_here(), self._where)
                with keeping_all():
                    prepare_process(self._threads, use_gpus=False)
                    from extractor.decoding_helper import DecodingHelper

                self._helper = DecodingHelper(self._threads)

    def ask(self, what: str, *arguments: Any) -> Any:
        """The answer of one of the `Helper`'s methods. After `prepare`."""
        return getattr(self._helper, what)(*arguments)


class RemoteHelper:
    """A `Helper`: a `HelperProcess` that is somewhere else. One that died and is there again prepares anew.

    actor: its methods' `remote` give references. answer: waits for what a reference stands for; raises HelperLostError.
    """

    def __init__(self, actor: Any, versions: Mapping[str, str], answer: Callable[[Any], Any]) -> None:
        self.actor, self._versions, self._answer = actor, versions, answer

    def begin(self) -> Any:
        """The reference of `prepare`'s answer."""
        return self.actor.prepare.remote(self._versions)

    def prepare(self) -> None:
        self._answer(self.begin())

    def read(self, locations: Sequence[str], limits: Limits) -> ReadFiles:
        return self._answer(self.actor.ask.remote("read", locations, limits))  # type: ignore[no-any-return]

    def decode(self, files: Sequence[tuple[str, bytes]], kinds: Sequence[InputKind], limits: Limits) -> DecodedFiles:
        return self._answer(self.actor.ask.remote("decode", files, kinds, limits))  # type: ignore[no-any-return]
