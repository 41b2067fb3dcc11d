"""Asking one decision of a candidate's process, and whether an invariant holds on the answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...sdk.invariant import Invariant, Violation
from ...sdk.isolation.program import ProgramProcess
from ...sdk.kind import Kind
from ...sdk.programs.questions import Question
from ..isolation.lockstep import LockstepCandidate
from ..programs import ProgramViolation, violation
from .regressions import Regression
from .shrink import allowed
from .watch import broken_by

Process = LockstepCandidate | ProgramProcess


def picked_badly(
    kind: Kind,
    invariants: Sequence[Invariant],
    candidate: LockstepCandidate,
    rows: Sequence[Sequence[float]],
) -> Violation | None:
    """Ask for a pick, and return the decision if it breaks an invariant; on a fault the incumbent answers."""
    pick = int(candidate.choose(np.array([rows], dtype=np.float64))[0])
    return broken_by(kind, invariants, rows, pick) if pick >= 0 else None


def answered_badly(
    kind: Kind, invariants: Sequence[Invariant], process: ProgramProcess, question: Question
) -> ProgramViolation | None:
    """Ask a question, and return it with its answer if that breaks an invariant; as :func:`picked_badly`."""
    answer = process.ask_terms(question.terms)
    return violation(kind, invariants, question, answer.outputs) if answer.ok else None


def wrong_again(
    kind: Kind, invariants: Sequence[Invariant], process: Process, known: Regression
) -> Violation | ProgramViolation | None:
    """Ask a stored case of an invariant; return the decision if it breaks that invariant again.

    Args:
        kind, invariants: of the hook; the case can be asked of them.
        process: of the candidate.
        known: the case.

    Raises:
        CandidateStopped: the candidate died, or took too long.
    """
    invariant = named(invariants, known.invariant)
    if isinstance(process, ProgramProcess):
        question = allowed(kind, known.question)
        return answered_badly(kind, (invariant,), process, question) if question else None
    return picked_badly(kind, (invariant,), process, known.question)


def named(invariants: Sequence[Invariant], name: str) -> Invariant:
    """Return the invariant of a name, which is there."""
    return next(each for each in invariants if each.name == name)
