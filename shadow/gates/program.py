"""The gates that need no replay, for policies in program form: determinism, invariants, budget."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from ...sdk.bundle import Golden, golden_cases, golden_of
from ...sdk.isolation.program import ProgramProcess, program_zygote
from ...sdk.language import ArrayProgram
from ...sdk.language._cases import same_answer
from ...sdk.programs.golden import isolated_numbers
from ...sdk.programs.questions import Question, question_of
from ..programs import ProgramViolation, as_case, drawn_questions, violation
from .case import Case
from .counterexample import (
    broken_words,
    known_again,
    known_evidence,
    known_words,
    smaller_program,
    stale_words,
)
from .shrink import allowed, question_size
from .verdict import Answer, GateResult

#: Generated questions and recorded ones that are asked twice, and of each put to the reference too.
_ASKED, _OBSERVED, _REFERENCE = 64, 32, 8
#: Part of the kind's deadline that an answer may take here: elsewhere it may be slower, or busy.
SHARE = 0.5
_TIMED, _TIMES = 16, 3


def determinism(case: Case) -> GateResult:
    """Refuse a program that answers the same question differently, in another process or another tier."""
    asked, observed = (
        drawn_questions(case.kind, _ASKED, case.options.seed),
        _observed(case)[:_OBSERVED],
    )
    stored = [allowed(case.kind, known.question) for known in case.known("")]
    again = [question for question in stored if question is not None]
    case.ran.regressions += len(again)
    faults = 0
    with ExitStack() as stack:
        one = stack.enter_context(case.process())
        two = stack.enter_context(_other(case, stack))
        for index, question in enumerate((*asked, *observed, *again)):
            first, second = (each.ask_terms(question.terms) for each in (one, two))
            if not same_answer(first, second):
                return _differs("a second process", question, index)
            near = index % len(asked) < _REFERENCE
            if near and not same_answer(first, one.ask_terms(question.terms, reference=True)):
                return _differs("the reference interpreter", question, index)
            faults += not first.ok
    golden = _golden(case)
    if golden is None:
        summary = "Its golden cases have another answer in its own process than here."
        return GateResult("determinism", "failed", summary)
    summary = (
        f"Two processes agree on {len(asked)} generated and {len(observed)} recorded questions, and "
        "the reference interpreter where it was asked."
    )
    evidence = {"generated": len(asked), "recorded": len(observed), "faults": faults}
    return GateResult("determinism", "passed", summary, evidence | {"golden": golden.digest})


def _golden(case: Case) -> Golden | None:
    """Return the golden cases that its own locked process gives; None where this one gives others."""
    assert isinstance(case.program, ArrayProgram), "the language gate comes first"
    mode = case.options.isolation
    golden = golden_cases(isolated_numbers(case.source, case.kind, 0, mode))
    return golden if golden.digest == golden_of(case.program, case.kind).digest else None


def invariants(case: Case) -> GateResult:
    """Refuse a program that breaks an invariant on a generated or a recorded question.

    The smallest such question that was found is the counterexample.
    """
    if not case.invariants:
        summary = f"No decision-level invariant blocks for this hook.{stale_words(case)}"
        return GateResult("invariants", "skipped", summary, known_evidence(case))
    observed = _observed(case)
    asked = [*drawn_questions(case.kind, case.options.examples, case.options.seed), *observed]
    with case.process() as process:
        found = known_again(case, process)
        known, faults = found is not None, 0
        if found is None:
            broken, faults = _broken(case, process, asked)
            if broken:
                least = min(broken, key=lambda each: (_size(case, each), repr(each.asked)))
                found = smaller_program(case, process, least)
    if isinstance(found, ProgramViolation):
        evidence = {"counterexample": as_case(case.kind, found, case.source), "known": known}
        return GateResult(
            "invariants", "failed", broken_words(found, known), evidence | known_evidence(case)
        )
    names = ", ".join(invariant.name for invariant in case.invariants)
    evidence = {
        "examples": case.options.examples,
        "recorded": len(observed),
        "faults": faults,
        **known_evidence(case),
    }
    summary = (
        f"{names} held on {len(asked)} questions{known_words(case)}; on {faults} the program faults, "
        f"and the incumbent would answer.{stale_words(case)}"
    )
    return GateResult("invariants", "passed", summary, evidence)


def budget(case: Case) -> GateResult:
    """Refuse a program that takes too much of the kind's deadline on recorded questions."""
    assert isinstance(case.program, ArrayProgram), "the language gate comes first"
    seconds, fuel = _worst(case)
    contract, deadline = case.program.contract, case.kind.deadline_s
    evidence = {
        "nodes": case.program.nodes,
        "max_nodes": contract.max_nodes,
        "fuel": fuel,
        "max_fuel": contract.max_fuel,
        "seconds": round(seconds, 6),
        "deadline_s": deadline,
        "share": SHARE,
    }
    summary = (
        f"{seconds * 1e3:.1f} ms and {fuel} fuel for the slowest recorded question, in its own process; "
        f"at most {SHARE * deadline * 1e3:.0f} ms."
    )
    answer: Answer = "passed" if seconds <= SHARE * deadline else "failed"
    return GateResult("budget", answer, summary, evidence)


def _worst(case: Case) -> tuple[float, int]:
    """Return the seconds of the slowest question, the best of a few tries each, and the most fuel."""
    timer, seconds, fuel = case.options.timer, 0.0, 0
    with case.process() as process:
        for question in _observed(case)[:_TIMED]:
            best = float("inf")
            for _ in range(_TIMES):
                start = timer()
                answer = process.ask_terms(question.terms)
                best, fuel = min(best, timer() - start), max(fuel, answer.fuel)
            seconds = max(seconds, best)
    return seconds, fuel


def _broken(
    case: Case, process: ProgramProcess, asked: Sequence[Question]
) -> tuple[list[ProgramViolation], int]:
    """Return all violations, and how often the program faults: the incumbent answers there."""
    broken, faults = [], 0
    for question in asked:
        answer = process.ask_terms(question.terms)
        faults += not answer.ok
        if answer.ok:
            found = violation(case.kind, case.invariants, question, answer.outputs)
            broken += [found] if found is not None else []
    return broken, faults


def _size(case: Case, broken: ProgramViolation) -> int:
    return question_size(question_of(case.kind, tuple(broken.asked)))


def _other(case: Case, stack: ExitStack) -> ProgramProcess:
    """Return the candidate in a clean process of its own, in which hashes differ."""
    seeded = {"PYTHONHASHSEED": "1"}
    zygote = program_zygote(case.kind, case.options.isolation, environment=seeded)
    stack.enter_context(zygote)
    return ProgramProcess(zygote, case.source, case.kind)


def _observed(case: Case) -> list[Question]:
    observed: Any = case.observed
    return [question_of(case.kind, arguments) for arguments in observed]


def _differs(tier: str, question: Question, index: int) -> GateResult:
    evidence = {"question": question.asked._asdict(), "tier": tier}
    summary = f"{tier.capitalize()} answers question {index} differently."
    return GateResult("determinism", "failed", summary, evidence)
