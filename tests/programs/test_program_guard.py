"""What a program answers is looked at before it is used; the same in the gates and in a service."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon.sdk.invariant import Invariant
from gnomon.sdk.limits import Breaker, Limits
from gnomon.sdk.programs.guard import ProgramGuard
from gnomon.sdk.programs.questions import objected, question_of
from gnomon.shadow.gates.watch import blocking
from gnomon.shadow.programs import ProgramWatch, violation

from .conftest import Kept
from .jobs import jobs, kind_of
from .test_program_hook import WORK, details, install, marked


def test_an_output_outside_of_its_declared_range_is_not_used(kept: Kept) -> None:
    """Without any invariant of the kind's own, a machine that no service has would reach it."""
    assign = marked(kind_of("bare_jobs", invariants=()), "jobs.bare")
    for epoch, written in enumerate(("8", "-1", "2 ** 40"), 1):
        install(assign, f"def decide(machine):\n    machine[0] = {written}\n", epoch=epoch)
        assert assign(WORK, 2) == [1, 1, 1]
    assert details(kept) == ["violation:declared_range"] * 3
    install(assign, "def decide(machine):\n    machine[0] = 7\n", epoch=9)
    assert assign(WORK, 2) == [7, 0, 0]


@pytest.mark.parametrize(
    ("machine", "name"), [([0, 7, 8], "declared_range"), ([0, 2, 1], "in_range")]
)
def test_the_gates_object_to_the_same(machine: list[int], name: str) -> None:
    question = question_of(jobs, (WORK, 2, [0, 0, 0]))
    outputs: dict[str, Any] = {"machine": machine}
    broken = objected(jobs, jobs.invariants, question, outputs)
    found = violation(jobs, jobs.invariants, question, outputs)
    assert broken is not None and found is not None
    assert broken.name == found.invariant == name
    assert objected(jobs, jobs.invariants, question, {"machine": [0, 1, 1]}) is None


@pytest.mark.parametrize("severity", ["block", "warn"])
def test_a_predicate_that_sorts_in_place_changes_no_answer(kept: Kept, severity: Any) -> None:
    """It is the obvious way to ask for a permutation, and what it sorted would reach every machine."""

    def sorts(question: Any, answer: Any) -> bool:
        answer.machine.sort()
        question.work.sort()
        return True

    kind = kind_of(f"sorted_{severity}", invariants=(Invariant("sorts", sorts, severity=severity),))
    assign = marked(kind, f"jobs.sorted.{severity}")
    install(assign, "def decide(machine):\n    machine[0] = 1\n")
    assert assign(WORK, 2) == [1, 0, 0]
    question = question_of(kind, (WORK, 2, [0, 0, 0]))
    outputs = {"machine": [1, 0, 0]}
    watch = ProgramWatch(kind, blocking(kind.invariants), warns=kind.invariants)
    watch(question, outputs)
    assert question.asked.work == WORK
    assert outputs == {"machine": [1, 0, 0]}


def test_a_process_that_was_made_meanwhile_is_not_made_again() -> None:
    """Who asks looks before it takes the lock; a second process would push the first out, unclosed."""
    breaker = Breaker(Limits(), lambda reason: None)
    program = jobs.checked("def decide(machine):\n    machine[0] = 1\n")
    guard = ProgramGuard(program, jobs, jobs.invariants, breaker, "strict", lambda: 0)  # type: ignore[arg-type]
    try:
        guard.start()
        first = guard._process
        assert first is not None
        assert guard._starting is not None
        guard._starting.join()
        guard._await(30.0)
        assert guard._process is first
    finally:
        guard.close()
