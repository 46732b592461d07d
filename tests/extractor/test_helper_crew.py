"""Helpers as the driver sees them: refused where there is no node, other code refused, and not waited for without end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from extractor.dispatch import CallError, DiedError
from extractor.helper_crew import HelperCrew
from extractor.sharing import Node, Place, Sharing
from storage.errors import CodeMismatchError, UsageError
from tests.extractor.simulated_cluster import SimulatedCluster

GPU_NODE, CPU_NODE = Node("a", "10.0.0.1", 4, 1), Node("b", "10.0.0.2", 4)


class Answering:
    """`answer`: what `prepare` gives, None for nothing yet."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def begin(self) -> Any:
        return self


class Answers(SimulatedCluster):
    def wait(self, references: Sequence[Any], seconds: float) -> list[Any]:
        return [reference for reference in references if reference.answer is not None][:1]

    def result(self, reference: Any) -> Any:
        if isinstance(reference.answer, Exception):
            raise reference.answer
        return reference.answer


def crew(answers: Sequence[Any]) -> HelperCrew:
    waiting = list(answers)
    made = HelperCrew(len(waiting))
    places = Sharing.among([GPU_NODE]).missing([GPU_NODE], {})

    def make(place: Place) -> Answering:
        assert place.node == CPU_NODE
        return Answering(waiting.pop())

    made.start([GPU_NODE, CPU_NODE], places, make)
    return made


def test_helpers_without_a_node_are_refused() -> None:
    places = Sharing.among([CPU_NODE]).missing([CPU_NODE], {})
    with pytest.raises(UsageError, match="--decode-helpers 2: expected a node with CPUs that has no GPU and no worker"):
        HelperCrew(2).start([CPU_NODE], places, Answering)
    HelperCrew(0).start([CPU_NODE], places, Answering)


def test_those_that_are_missing_are_told_and_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    made = crew([True, None, DiedError("gone", innocent=True)])
    assert made.nodes == {"b"}
    made.await_all(Answers([]))
    assert "2 of 3 decode helpers are not there yet" in caplog.text


def test_other_code_is_refused() -> None:
    made = crew([True, CallError("other code", CodeMismatchError("node b does not run what the driver runs"))])
    with pytest.raises(CodeMismatchError, match="node b"):
        made.await_all(Answers([]))
