"""A decision that broke an invariant, made as small as can be found, as values from which it replays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from ...sdk.invariant import Invariant, Violation
from ...sdk.isolation.program import ProgramProcess
from ...sdk.isolation.zygote import CandidateStopped
from ...sdk.programs.questions import Question
from ..isolation.lockstep import LockstepCandidate
from ..programs import ProgramViolation, violation
from ..programs import as_case as program_case
from .asking import Process, answered_badly, named, picked_badly, wrong_again
from .case import Case
from .shrink import Rows, allowed, keepable, narrowed, smallest, smallest_question
from .watch import as_case


def counterexample(case: Case, broken: Violation | ProgramViolation) -> dict[str, Any]:
    """Return a violation that a replay found as JSON values, shrunk where it happens again by itself."""
    if isinstance(broken, ProgramViolation):
        with suppress(CandidateStopped), case.process() as process:
            broken = smaller_program(case, process, broken)
        return program_case(case.kind, broken, case.source)
    # a candidate that stops here has broken the invariant all the same
    with suppress(CandidateStopped), case.candidate() as candidate:
        features = narrowed(case.kind.inputs, broken.items)
        broken = smaller(case, candidate, broken, features)
    return as_case(case.kind, broken, case.source)


def smaller(
    case: Case, candidate: LockstepCandidate, broken: Violation, features: Sequence[Any]
) -> Violation:
    """Return the smallest decision found on which the same candidate breaks the same invariant.

    Args:
        case: whose candidate it is.
        candidate: its process.
        broken: the decision to begin with.
        features: with the ranges that values may have.

    Raises:
        CandidateStopped: it died, or took too long.
    """
    invariant = named(case.invariants, broken.invariant)
    fair = keepable(case.kind, invariant, broken.items)

    def breaks(rows: Rows) -> bool:
        if fair and not keepable(case.kind, invariant, rows):
            return False
        return picked_badly(case.kind, (invariant,), candidate, rows) is not None

    rows = list(broken.items)
    if not breaks(rows):
        return broken
    found = picked_badly(case.kind, (invariant,), candidate, smallest(rows, features, breaks))
    return found or broken


def smaller_program(
    case: Case, process: ProgramProcess, broken: ProgramViolation
) -> ProgramViolation:
    """Return the smallest question found on which the same program breaks the same invariant.

    A question is only made smaller while a published program keeps the invariant on it.

    Raises:
        CandidateStopped: it died, or took too long.
    """
    invariant = named(case.invariants, broken.invariant)
    asked: Mapping[str, Any] = broken.asked._asdict()
    with ExitStack() as stack:
        keeper = _keeper(case, stack, invariant, broken)
        if keeper is None:
            return broken

        def found(question: Question) -> ProgramViolation | None:
            return answered_badly(case.kind, (invariant,), process, question)

        def breaks(question: Question) -> bool:
            return found(question) is not None and _keeps(case, keeper, invariant, question)

        values = smallest_question(case.kind, asked, breaks)
        question = allowed(case.kind, values)
        return (found(question) if question is not None else None) or broken


def _keeper(
    case: Case, stack: ExitStack, invariant: Invariant, broken: ProgramViolation
) -> ProgramProcess | None:
    """Return the process of a published program that keeps the invariant where the candidate broke it."""
    question = allowed(case.kind, broken.asked._asdict())
    for baseline in case.kind.baselines.values():
        if baseline.source is None or question is None:
            continue
        process = stack.enter_context(case.process(baseline.source))
        if _keeps(case, process, invariant, question):
            return process
    return None


def _keeps(case: Case, process: ProgramProcess, invariant: Invariant, question: Question) -> bool:
    answer = process.ask_terms(question.terms)
    return answer.ok and violation(case.kind, (invariant,), question, answer.outputs) is None


def broken_words(broken: Violation | ProgramViolation, known: bool) -> str:
    """Say what is broken, and whether it is a case that is known."""
    before = "A known case again: " if known else ""
    return f"{before}{broken.invariant} broken: {broken.detail}"


def known_evidence(case: Case) -> dict[str, Any]:
    """Return how many stored cases were asked, and those that cannot be asked any more, with the reason."""
    stale = [{"case": each.path.stem, "why": each.problem} for each in case.stored[1]]
    return {"regressions": {"asked": case.ran.regressions, "stale": stale}}


def known_words(case: Case) -> str:
    """Say how many stored cases were asked, if any."""
    asked = case.ran.regressions
    return f" and {asked} known case{'s' * (asked != 1)}" if asked else ""


def stale_words(case: Case) -> str:
    """Say how many stored cases cannot be asked any more, and why the first cannot."""
    stale = case.stored[1]
    if not stale:
        return ""
    first = f"{stale[0].path.stem[:12]}: {stale[0].problem}"
    return f" {len(stale)} stored cases cannot be asked ({first})."


def known_again(case: Case, process: Process) -> Violation | ProgramViolation | None:
    """Ask the stored cases; return the first decision that breaks its invariant again."""
    for known in case.known():
        case.ran.regressions += 1
        broken = wrong_again(case.kind, case.invariants, process, known)
        if broken is not None:
            return broken
    return None
