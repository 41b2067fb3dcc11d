"""Stored cases, asked of one policy or of the candidates that once got them wrong, without any trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...sdk.invariant import Invariant, Violation
from ...sdk.isolation.layers import IsolationMode
from ...sdk.isolation.program import ProgramProcess
from ...sdk.isolation.zygote import CandidateStopped, Zygote
from ...sdk.kind import Kind
from ..isolation.lockstep import LockstepCandidate
from ..policy import clean_process
from ..programs import ProgramViolation
from .asking import Process, wrong_again
from .regressions import Regression, Stored, usable
from .watch import blocking


@dataclass(frozen=True, slots=True)
class Again:
    """What became of a stored case.

    Attributes:
        stored: the file.
        answer: ``kept``, ``broken``, ``stopped`` (the policy faulted for good, or is outside of the
            language) or ``not asked``.
        detail: what is broken, or why it was not asked.
    """

    stored: Stored
    answer: str
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return file, answer and detail as JSON values."""
        return {**self.stored.as_json(), "answer": self.answer, "detail": self.detail}


def replayed(
    stored: Sequence[Stored],
    kind: Kind,
    invariants: Iterable[Invariant],
    isolation: IsolationMode,
    source: str = "",
) -> tuple[Again, ...]:
    """Ask stored cases of one hook again.

    Args:
        stored: the cases.
        kind, invariants: of the hook.
        isolation: of the policy's process.
        source: that is asked; each case's own where it is empty.

    Raises:
        IsolationError: the isolation cannot be had.
    """
    wanted = tuple(invariants)
    good, stale = usable(stored, kind, wanted)
    answers = [Again(each, "not asked", each.problem) for each in stale]
    with clean_process(kind, isolation) as zygote:
        for each in good:
            assert each.case is not None, "one that can be asked"
            if not each.case.invariant:
                answers.append(Again(each, "not asked", "two answers: gnomon verify asks it"))
                continue
            answers.append(_asked(each, each.case, kind, wanted, zygote, source))
    return tuple(sorted(answers, key=lambda one: one.stored.path))


def _asked(
    stored: Stored,
    case: Regression,
    kind: Kind,
    invariants: Sequence[Invariant],
    zygote: Zygote,
    source: str,
) -> Again:
    opened: Callable[..., Process] = ProgramProcess if kind.form == "program" else LockstepCandidate
    try:
        with opened(zygote, source or case.source, kind) as process:
            broken = wrong_again(kind, blocking(invariants), process, case)
    except CandidateStopped as error:
        return Again(stored, "stopped", str(error))
    return Again(stored, "broken" if broken else "kept", _words(broken))


def _words(broken: Violation | ProgramViolation | None) -> str:
    return f"{broken.invariant}: {broken.detail}" if broken is not None else ""
