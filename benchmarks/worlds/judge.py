"""What the gates say of a candidate, asked with replays that this process made.

The gates are those of ``gnomon verify``; only the candidate's process is left out, because hundreds of
candidates are asked and none of them is hostile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from gnomon.policies.registry import kind as kind_named
from gnomon.sdk.invariant import Violation
from gnomon.sdk.kind import Kind
from gnomon.shadow.gates.case import Case, Target, VerifyOptions
from gnomon.shadow.gates.fidelity import fidelity
from gnomon.shadow.gates.holdout import granted
from gnomon.shadow.gates.replay import judged, sampled, validation
from gnomon.shadow.policy import Policy, baseline_policy, source_policy
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.simulators.base import Replay
from gnomon.shadow.simulators.native import first_class
from gnomon.shadow.splits import split
from gnomon.shadow.traces.trace import Trace

CALIBRATIONS = 8


def policy(kind: Kind, source: str) -> Policy:
    """Return a source as a policy, compiled once."""
    return _policy(kind.name, source)


@cache
def _policy(name: str, source: str) -> Policy:
    kind = kind_named(name)
    if kind.form == "score":
        return source_policy("policy", source, kind)
    published = {each.source: each.name for each in kind.baselines.values()}
    return baseline_policy(published[source], kind)


def score(kind: Kind, source: str) -> Any:
    """Return a source as a compiled score of the kind's inputs, for a world to call."""
    return first_class(policy(kind, source)._score)  # type: ignore[attr-defined]


@dataclass
class _Prepared(Case):
    """A case whose candidate runs in this process."""

    def replays(
        self, trace: Trace, source: str | None = None, most: int | None = None
    ) -> tuple[list[Replay], list[Violation]]:
        """Replay a source under every calibration, or the first few."""
        one = policy(self.kind, source or self.source)
        replays = [
            one.replay(self.simulator, trace, calibration, self.seed(index, trace))
            for index, calibration in enumerate(self.calibrations[:most])
        ]
        return replays, []


@dataclass(frozen=True)
class Answer:
    """What the gates found of one candidate.

    Attributes:
        gate: name of the one that did not pass; empty for an acceptance.
        effect: estimate, low and high of the mean's change on the holdout.
        rails: the same of every guardrail by name.
    """

    gate: str
    effect: Mapping[str, float]
    rails: Mapping[str, Mapping[str, float]]


@dataclass
class Jury:
    """Judges candidates on one recorded trace; the simulator is calibrated and asked once."""

    trace: Trace
    kind: Kind
    incumbent: str
    _shared: dict[str, Any] = field(default_factory=dict)

    def case(self, source: str) -> Case:
        """Return the case of a candidate."""
        kind, trace = self.kind, self.trace
        target = Target(trace.hook, kind, policy(kind, self.incumbent), kind.invariants)
        simulator = simulator_for(kind)
        if not self._shared:
            draws = simulator.draws(trace, CALIBRATIONS, 0)
            self._shared = {"draws": draws, "windows": split(trace).windows(), "bases": {}}
        nothing: Any = None
        found = _Prepared(
            target, source, trace, self._shared["windows"], simulator, nothing, nothing, {},
            VerifyOptions(), _bases=self._shared["bases"],
        )  # fmt: skip
        found.__dict__["calibrations"] = self._shared["draws"]
        return found

    @property
    def fidelity(self) -> str:
        """The answer of the fidelity gate."""
        if "fidelity" not in self._shared:
            answer = fidelity(self.case(self.incumbent)).answer
            self._shared["fidelity"] = answer
        return str(self._shared["fidelity"])

    def ask(self, source: str, opening: int = 1) -> Answer:
        """Ask all gates from fidelity to holdout, the holdout whatever those before it said."""
        case = self.case(source)
        replays, _ = case.replays(case.splits["holdout"])
        found, _ = judged(case, replays, granted(opening).alpha, {})
        before = ""
        if self.fidelity not in ("passed", "skipped"):
            before = "fidelity"
        elif not sampled(case).passed:
            before = "sampled replay"
        elif not validation(case).passed:
            before = "full replay"
        gate = before or ("" if found.passed else "holdout")
        return Answer(gate, found.evidence["effect"], found.evidence["guardrails"])
