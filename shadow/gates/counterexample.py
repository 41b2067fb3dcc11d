"""A decision that broke an invariant, made as small as can be found, as values from which it replays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

_MOST_S = 20.0  # for making one case small


def counterexample(case: Case, broken: Violation | ProgramViolation) -> dict[str, Any]:
    """Return a violation that a replay found as JSON values, shrunk where it happens again by itself."""
    if isinstance(broken, ProgramViolation):
        with case.process() as process:
            broken = smaller_program(case, process, broken)
        return program_case(case.kind, broken, case.source)
    with case.candidate() as candidate:
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

    Returns:
        the decision to begin with where the process stops meanwhile: it has broken the invariant already.
    """
    invariant = named(case.invariants, broken.invariant)
    fair = keepable(case.kind, invariant, broken.items)

    def breaks(rows: Rows) -> bool:
        if fair and not keepable(case.kind, invariant, rows):
            return False
        return picked_badly(case.kind, (invariant,), candidate, rows) is not None

    rows = list(broken.items)
    with suppress(CandidateStopped):
        if breaks(rows):
            least = smallest(rows, features, _in_time(case, breaks))
            return picked_badly(case.kind, (invariant,), candidate, least) or broken
    return broken


def _in_time(case: Case, breaks: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return the same question, answered with no once it took too long in all."""
    timer, until = case.options.timer, case.options.timer() + _MOST_S
    return lambda found: timer() < until and breaks(found)


def smaller_program(
    case: Case, process: ProgramProcess, broken: ProgramViolation
) -> ProgramViolation:
    """Return the smallest question found on which the same program breaks the same invariant.

    A question is only made smaller while every published program that kept the invariant keeps it: where
    they do not, it is most likely none that a service would ask, whatever its contract allows.

    Returns:
        as :func:`smaller`.
    """
    invariant = named(case.invariants, broken.invariant)
    asked: Mapping[str, Any] = broken.asked._asdict()
    with suppress(CandidateStopped), ExitStack() as stack:
        keepers = _keepers(case, stack, invariant, broken)
        if not keepers:
            return broken

        def found(question: Question) -> ProgramViolation | None:
            return answered_badly(case.kind, (invariant,), process, question)

        def breaks(question: Question) -> bool:
            if found(question) is None:
                return False
            return all(_keeps(case, each, invariant, question) for each in keepers)

        question = allowed(case.kind, smallest_question(case.kind, asked, _in_time(case, breaks)))
        return (found(question) if question is not None else None) or broken
    return broken


def _keepers(
    case: Case, stack: ExitStack, invariant: Invariant, broken: ProgramViolation
) -> list[ProgramProcess]:
    """Return the published programs, running, that keep the invariant where the candidate broke it."""
    question = allowed(case.kind, broken.asked._asdict())
    sources = [each.source for each in case.kind.baselines.values() if each.source]
    running = [stack.enter_context(case.process(source)) for source in sources]
    return [each for each in running if question and _keeps(case, each, invariant, question)]


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
