"""Policies evaluated off-policy on one trace, as a value that shows itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...sdk.errors import CandidateError, ConfigurationError, TraceError
from ...sdk.isolation.layers import IsolationMode
from ...sdk.kind import Kind
from ...sdk.language import check
from ..evaluation import require_seed
from ..report.shown import Part, Shown, Table, percent, plain
from ..traces.trace import DecisionTrace, Trace
from .estimates import LEAST_EFFECTIVE, Estimate, Evaluated, evaluate
from .target import Scores, Target, target_of

if TYPE_CHECKING:
    from ..isolation.lockstep import LockstepCandidate


@dataclass(frozen=True, slots=True)
class OffPolicyOptions:
    """How policies are evaluated.

    Attributes:
        clip: largest weight of a decision; above 0.
        least_effective: effective sample size below which there is no number.
        isolation: of policies from files: ``strict`` or ``process``.
        seed: of resampling and noise.
    """

    clip: float = math.inf
    least_effective: float = LEAST_EFFECTIVE
    isolation: IsolationMode = "strict"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what no evaluation can be made with."""
        if not self.clip > 0.0:
            raise ConfigurationError(f"clip={self.clip:g} leaves no weight; give one above 0")
        if not self.least_effective >= 1.0:
            raise ConfigurationError(
                f"least_effective={self.least_effective:g} is no sample; give at least 1"
            )
        require_seed(self.seed)


@dataclass(frozen=True, slots=True)
class OffPolicyRow:
    """One policy.

    Attributes:
        policy: its name.
        probabilities: ``exact``, or how often noise was redrawn.
        found: what the recorded decisions say of it; None when it failed.
        fault: why it failed; empty when it did not.
    """

    policy: str
    probabilities: str
    found: Evaluated | None
    fault: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class OffPolicyTable(Shown):
    """Policies evaluated on decisions that another one made.

    Attributes:
        hook, kind: of the trace.
        trace: digest.
        decisions: how many.
        explored: part of them of which the propensity is below 1.
        unit: of the objective.
        recorded: mean outcome of the recorded policy.
        clip: largest weight; infinite for none.
        rows: one per policy, as given.
    """

    hook: str
    kind: str
    trace: str
    decisions: int
    explored: float
    unit: str
    recorded: float
    clip: float
    rows: tuple[OffPolicyRow, ...]

    @property
    def overlapping(self) -> bool:
        """Whether there is a number for every policy."""
        return all(row.found and row.found.overlap == "overlap" for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return the table as JSON values; numbers that JSON does not have are null."""
        values: dict[str, Any] = plain(asdict(self))
        return values

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: how much was drawn, then the estimates, then how they came about."""
        unit = "" if self.unit == "1" else f" {self.unit}"
        clipped = f"; weights are clipped at {self.clip:g}" if math.isfinite(self.clip) else ""
        said = (
            f"{self.decisions} decisions of {self.hook}, {self.explored:.1%} of them with a propensity "
            f"below 1; mean of the recorded policy {self.recorded:.4g}{unit}{clipped}"
        )
        return (
            said,
            Table(
                ("policy", "IPS", "SNIPS", "DR", "change (SNIPS)", "answer"),
                tuple(_estimates(row) for row in self.rows),
                "mean outcome per decision, 95 % from blocks of time; states are those recorded",
            ),
            Table(
                (
                    "policy",
                    "agrees",
                    "effective",
                    "mean weight",
                    "largest",
                    "clipped",
                    "probabilities",
                ),
                tuple(_weights(row) for row in self.rows if row.found),
            ),
        )


def _estimates(row: OffPolicyRow) -> tuple[str, ...]:
    found = row.found
    if found is None or found.snips is None:
        said = row.fault if found is None else f"{found.overlap}: {found.why}"
        return (row.policy, "–", "–", "–", "–", said)
    change = "–"
    if found.change is not None:
        low, high = percent(found.change.low, 0), percent(found.change.high, 0)
        change = f"{percent(found.change.estimate)} ({low} … {high})"
    cells = (_estimate(each) for each in (found.ips, found.snips, found.dr))
    return (row.policy, *cells, change, found.overlap)


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return "–"
    return f"{found.value:.4g} ({found.blocks.low:.4g} … {found.blocks.high:.4g})"


def _weights(row: OffPolicyRow) -> tuple[str, ...]:
    found = row.found
    assert found is not None
    return (
        row.policy,
        f"{found.agreement:.1%}",
        f"{found.effective:.0f}",
        f"{found.mean_weight:.3f}",
        f"{found.largest_weight:.4g}",
        f"{found.clipped:.2%}",
        row.probabilities,
    )


def off_policy(
    trace: Trace,
    kind: Kind,
    policies: Sequence[tuple[str, str, bool]],
    options: OffPolicyOptions,
) -> OffPolicyTable:
    """Evaluate policies in score form on recorded decisions.

    Args:
        trace: decisions with propensities.
        kind: what is decided, in score form.
        policies: name, source, and whether it runs isolated.
        options: how.

    Raises:
        TraceError: the trace holds no decisions, or too few blocks of time.
        LanguageError: a source lies outside the policy language.
        IsolationError: the isolation cannot be had.
    """
    if not isinstance(trace, DecisionTrace) or kind.form != "score" or not len(trace.members):
        raise TraceError(
            f"trace {trace.hook!r} of kind {trace.kind!r} holds no decisions between items with "
            "propensities; replay it instead"
        )
    with ExitStack() as stack:
        runners = _Runners(kind, options, stack)
        rows = tuple(_row(trace, kind, policy, runners, options) for policy in policies)
    return OffPolicyTable(
        hook=trace.hook,
        kind=trace.kind,
        trace=trace.digest,
        decisions=len(trace),
        explored=float((trace.propensity < 1.0).mean()),
        unit=kind.objective.unit,
        recorded=float(trace.outcome.mean()),
        clip=options.clip,
        rows=rows,
    )


class _Runners:
    """What runs sources: this process for those of the kind, a process of its own for those from files."""

    def __init__(self, kind: Kind, options: OffPolicyOptions, stack: ExitStack) -> None:
        self._kind, self._options, self._stack = kind, options, stack
        self._zygote: Any = None

    def scores(self, source: str, isolated: bool, stack: ExitStack) -> Scores:
        """Return what scores rows; a candidate's process ends with ``stack``."""
        if not isolated:
            return _here(source, self._kind)
        from ..isolation.lockstep import LockstepCandidate, lockstep_zygote

        if self._zygote is None:
            self._zygote = self._stack.enter_context(lockstep_zygote(self._options.isolation))
        candidate: LockstepCandidate = stack.enter_context(
            LockstepCandidate(self._zygote, source, self._kind)
        )
        return candidate.scores


def _here(source: str, kind: Kind) -> Scores:
    score = check(source, kind.input_names, max_nodes=kind.max_nodes, max_fuel=kind.max_fuel).bind()
    return lambda rows: np.array([score(*row) for row in rows.tolist()], np.float64)


def _row(
    trace: DecisionTrace,
    kind: Kind,
    policy: tuple[str, str, bool],
    runners: _Runners,
    options: OffPolicyOptions,
) -> OffPolicyRow:
    name, source, isolated = policy
    try:
        with ExitStack() as stack:
            scores = runners.scores(source, isolated, stack)
            target: Target = target_of(trace, source, kind, scores, options.seed)
    except CandidateError as error:
        return OffPolicyRow(name, "–", None, str(error))
    found = evaluate(
        trace,
        target.probability,
        clip=options.clip,
        least_effective=options.least_effective,
        largest_outcome=kind.objective.clip,
        seed=options.seed,
    )
    return OffPolicyRow(name, target.how, found)
