"""What the machine asks of the evidence, whichever way the arms share the traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .outcomes import Arm, Effect, Rail


class RailFinding(Protocol):
    """What is known of one guardrail."""

    @property
    def rail(self) -> Rail:
        """The guardrail as the plan states it."""
        ...


class Finding(Protocol):
    """What the judged pairs of blocks, or the looks at the units, say so far."""

    @property
    def rails(self) -> Sequence[RailFinding]:
        """One per guardrail of the plan."""
        ...

    @property
    def amount(self) -> str:
        """How much counts, in words: ``12 pairs``."""
        ...

    def regression(self, alpha: float) -> str:
        """Say what got worse beyond doubt; empty when nothing did."""
        ...

    def superior(self, alpha: float) -> bool:
        """Return whether the objective is better and every guardrail fine, each beyond doubt."""
        ...

    def promising(self) -> bool:
        """Return whether all leans towards the candidate: enough for a next step."""
        ...

    def doubt(self, *, few: bool = False) -> str:
        """Say why what counts cannot be believed; empty when it can."""
        ...

    def effect(self, alpha: float = ...) -> Effect:
        """Return the relative change of the objective, valid whenever one looks."""
        ...

    def values(self, rail: Rail) -> tuple[float, float]:
        """Return a guardrail's statistic over all that counts: stable, candidate; NaN where unknown."""
        ...

    def summary(self) -> Summary:
        """Return what is shown and kept in the ledger."""
        ...


@dataclass(frozen=True, slots=True)
class RailSummary:
    """What is shown of a guardrail.

    Attributes:
        name: of it.
        log_e_worse, log_e_fine: natural logarithms of the evidence for either.
        stable, candidate: the statistic, as in :meth:`Finding.values`.
    """

    name: str
    log_e_worse: float
    log_e_fine: float
    stable: float
    candidate: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What is shown of the evidence.

    Attributes:
        counted: pairs that count, or looks.
        left_out: pairs that do not count, by the arm at fault.
        log_e_better, log_e_worse, log_e_mean: natural logarithms of the evidence that the objective is
            better, that it is worse, and that its mean is better.
        effect: relative change of the objective.
        stable, candidate: outcomes, pooled over all that counts.
        rails: guardrails.
    """

    counted: int
    left_out: Mapping[str, int]
    log_e_better: float
    log_e_worse: float
    log_e_mean: float
    effect: Effect
    stable: Arm
    candidate: Arm
    rails: tuple[RailSummary, ...]
