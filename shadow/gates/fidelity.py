"""The gate that asks the simulator, not the candidate: does it do what was recorded?"""

from __future__ import annotations

from ..fidelity import Fidelity, Row
from ..fidelity import fidelity as measured
from .case import Case
from .verdict import Answer, GateResult

_ANSWERS: dict[str, Answer] = {
    "ok": "passed",
    "beyond tolerance": "failed",
    "inconclusive": "inconclusive",
    "nothing recorded": "skipped",
}


def fidelity(case: Case) -> GateResult:
    """Block every promotion while replaying the incumbent does not give what was recorded of it."""
    table = measured(case.trace, case.target.incumbent, case.simulator, seed=case.options.seed)
    evidence = table.as_json()
    if table.answer == "nothing recorded":
        summary = (
            "The trace holds a workload without outcomes, so there is nothing to reproduce; only the "
            "canary will tell whether the service behaves as the simulator."
        )
        return GateResult("fidelity", "skipped", summary, evidence)
    if table.answer != "ok":
        evidence["blame"] = "simulator"
    return GateResult("fidelity", _ANSWERS[table.answer], _summary(table), evidence)


def _summary(table: Fidelity) -> str:
    worst = max(
        (row for row in table.rows if row.stretch != "whole"),
        key=lambda row: (row.answer == table.answer, abs(row.error) / row.tolerance),
    )
    if table.answer == "ok":
        return f"The simulator reproduces {table.policy}; the largest error: {_words(worst)}."
    remedy = "capture more" if table.answer == "inconclusive" else "recalibrate or capture again"
    return f"The simulator is {table.answer} on {table.policy}: {_words(worst)}; {remedy}."


def _words(row: Row) -> str:
    return (
        f"{row.metric} in the {row.stretch} off by {row.error:+.1%} "
        f"({row.low:+.1%} to {row.high:+.1%}, tolerance {row.tolerance:.0%})"
    )
