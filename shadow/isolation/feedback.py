"""Words on an evaluation for whoever writes the next program: the same however often it is made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...sdk.invariant import Invariant
from ...sdk.kind import Kind

#: Characters of one evaluation's words.
MOST = 2000
#: Stretches of time that are named.
_NAMED = 3
#: Elements of an array that a counterexample shows.
_SHOWN = 8


def scored(kind: Kind, score: float, segments: Sequence[float]) -> str:
    """Return on which stretches of the trace a program did worst, and on which best."""
    metric = f"{kind.objective.name} ({kind.objective.unit})"
    lines = [f"Mean {metric}: {score:.5g} (lower is better)."]
    if len(segments) > 1:
        order = sorted(range(len(segments)), key=lambda at: (-segments[at], at))
        worst, best = order[:_NAMED], order[: -_NAMED - 1 : -1]
        lines.append(
            f"The trace was cut into {len(segments)} stretches of time, from 0 on. Worst: "
            f"{_listed(segments, worst)}. Best: {_listed(segments, best)}."
        )
    return plain("\n".join(lines))


def stopped(kind: Kind, at_least: float, segments: Sequence[float]) -> str:
    """Return what was certain when an evaluation was stopped."""
    return plain(
        "The evaluation was stopped: the program is certainly worse than what is known already, or was so "
        f"on the stretches that were tried first. In the replays that were made:\n"
        f"{scored(kind, at_least, segments)}"
    )


def faulted(kind: Kind, decision: int) -> str:
    """Return where a policy gave no answer, and what may be the reason."""
    if kind.form == "program":
        return plain(
            f"The program gave no answer that fits at decision {decision}: it left the domain of a "
            "function, an index was out of range, or it ran out of fuel or memory."
        )
    return plain(
        f"The score faulted at decision {decision}: a division by zero, a value outside the domain of a "
        f"function, an overflow, or more than {kind.max_fuel} steps. Guard every denominator and every "
        "argument of log, sqrt and pow; features may be 0."
    )


def broken(invariant: Invariant, detail: str = "") -> str:
    """Return which invariant did not hold, and with which counterexample."""
    said = invariant.description or invariant.name
    where = {
        "replay": "over a whole replay of the trace, under one of many draws of luck",
        "decision": "at a decision",
    }[invariant.scope]
    lines = [f"The invariant {invariant.name} did not hold {where}. It says: {said}"]
    if detail and detail != said:
        lines.append(f"Counterexample: {detail}")
    return plain("\n".join(lines))


def case(asked: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """Return a question and its answer in a line, long arrays cut."""
    return (
        f"asked {json.dumps(_cut(asked), default=str)}, answered "
        f"{json.dumps(_cut(answer), default=str)}"
    )


def items(names: Sequence[str], rows: Sequence[Sequence[float]], picked: int) -> str:
    """Return a decision's items in a line each, the picked one marked."""
    lines = [
        f"item {at}{' (picked)' if at == picked else ''}: "
        + ", ".join(f"{name}={value:.6g}" for name, value in zip(names, row, strict=True))
        for at, row in enumerate(rows)
    ]
    return "\n".join(lines)


def plain(text: str) -> str:
    """Return a text of at most 2,000 printable ASCII characters and line ends."""
    return "".join(c if " " <= c <= "~" or c == "\n" else "?" for c in text[:MOST])


def _listed(segments: Sequence[float], chosen: Sequence[int]) -> str:
    return ", ".join(f"stretch {at} ({segments[at]:.5g})" for at in chosen)


def _cut(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _cut(each) for name, each in value.items()}
    if isinstance(value, float):
        return float(f"{value:.6g}")
    listed = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(listed, list | tuple):
        kept = [_cut(each) for each in listed[:_SHOWN]]
        return [*kept, f"... {len(listed)} in all"] if len(listed) > _SHOWN else kept
    return listed
