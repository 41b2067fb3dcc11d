"""A verdict in two to five plain sentences: what was compared, what came out, what to doubt, what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..report.shown import percent
from .case import Case
from .holdout import Holdout, day
from .verdict import Decision, GateResult

Predicted = Mapping[str, Mapping[str, float]]

#: What to do after a refusal, by what stood in the way.
_REFUSED = {
    "language": "Write it within the policy language, or let the search propose another",
    "determinism": "Change it so that every process gives the same answer; the row is in the evidence",
    "invariants": "Change it so that it keeps the invariant on the case shown, which later candidates are asked too",
    "sampled replay": "Keep the incumbent, and look for another candidate",
    "full replay": "Keep the incumbent, and search on; no holdout was opened for this one",
    "holdout": "Keep the incumbent: what it won before was luck, or fits only the traffic that was searched on",
    "budget": "Make it shorter: every caller would wait for it",
    "simulator": "The candidate is not to blame: capture under the incumbent that really decided, or recalibrate",
    "evaluator": "The candidate is not to blame: find the fault in the simulator, then gnomon quarantine release",
}
_INCONCLUSIVE = {
    "simulator": "Capture more traffic under the incumbent, then verify again",
    "holdout": "Capture newer traffic, and more of it, then verify again",
    "evaluator": "Find the fault in the simulator, then gnomon quarantine release, and verify again",
}
_AGAIN = "Nothing is known about the candidate: verify again"


def told(
    decision: Decision, reason: str, gates: Sequence[GateResult], predicted: Predicted, case: Case
) -> str:
    """Return a verdict's summary for people who do not read evidence.

    Args:
        decision, reason: of the verdict.
        gates: their answers, the deciding one last.
        predicted: effects by what they are against.
        case: that was judged.
    """
    if decision == "accepted":
        return " ".join(_accepted(gates, predicted["incumbent"], case))
    word = "Refused" if decision == "refused" else "Inconclusive"
    last, passed = gates[-1], [gate.name for gate in gates[:-1]]
    sentences = [f"{word} at gate {last.name}: {last.summary.rstrip('.')}."]
    if passed:
        sentences.append(f"Before that it passed {', '.join(passed)}.")
    known = _REFUSED if decision == "refused" else _INCONCLUSIVE
    sentences.append(f"{known.get(reason, _AGAIN)}.")
    return " ".join(sentences)


def _accepted(
    gates: Sequence[GateResult], effect: Mapping[str, float], case: Case
) -> Iterator[str]:
    evidence = {gate.name: gate.evidence for gate in gates}
    name = case.kind.objective.name
    yield (
        f"Accepted: on traffic that no search has seen it changes the mean {name} by "
        f"{effect['estimate']:+.1%} ({effect['low']:+.1%} to {effect['high']:+.1%}) against the "
        "incumbent."
    )
    window = Holdout.of(case.splits["holdout"])
    yield (
        f"Compared were {len(case.splits['holdout'])} decisions of {window.hook}, from "
        f"{day(window.start_ns)} to {day(window.end_ns)}, replayed under {len(case.calibrations)} "
        "calibrations of the simulator."
    )
    rails = evidence["holdout"].get("guardrails", {})
    if rails:
        yield f"Guardrails held: {', '.join(_rail(rail, of) for rail, of in rails.items())}."
    yield f"What could still be wrong: {_doubts(evidence, case)}."
    yield "Next: gnomon ship, whose canary measures it in production and takes it back if it is wrong."


def _rail(name: str, change: Mapping[str, Any]) -> str:
    shown = _change(change.get("estimate"), bool(change.get("relative")))
    return f"{name} {shown} (at most {_change(change.get('margin'), bool(change.get('relative')))})"


def _change(value: Any, relative: bool) -> str:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "unknown"
    return percent(value) if relative else f"{value:+.4g}"


def _doubts(evidence: Mapping[str, Mapping[str, Any]], case: Case) -> str:
    """Return what the evidence leaves open."""
    errors = [
        abs(row["error"])
        for row in evidence["fidelity"].get("rows", ())
        if isinstance(row.get("error"), int | float) and math.isfinite(row["error"])
    ]
    doubts = (
        f"on what was recorded the simulator is off by up to {max(errors):.1%}"
        if errors
        else "nothing was recorded that the simulator could be held to"
    )
    guarded = evidence["invariants"].get("guarded_beyond")
    if isinstance(guarded, float):
        doubts += (
            f"; beyond three times the recorded ranges nothing is tested, and over the whole of them the "
            f"guard would answer {guarded:.1%} of the time"
        )
    else:
        doubts += f"; loads unlike those of {case.target.hook} in this trace are not tested"
    if all(each in case.kind.invariants for each in case.target.invariants):
        doubts += (
            "; only the kind's invariants were asked, because the hook has none of its own or was not named as "
            "module:attribute"
        )
    return doubts
