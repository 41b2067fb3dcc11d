"""The lines that an evaluator's process answers in, checked: a program may have written them itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

Pairs = tuple[tuple[str, str], ...]
_MOST, _MOST_NAME = 64, 80
_STAGES = range(1, 4)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an evaluator's process said of its program last.

    Attributes:
        event: ``kept`` after a stage but the last, ``done``, or ``raised``; empty when it said nothing.
        fitness: higher is better; NaN when it is no finite number.
        stages: that were run to their end; 0 when none was.
        of: stages that the evaluator has; 0 when it did not get so far.
        metrics: finite numbers by name.
        notes, artifacts: texts by name.
        where: of an exception: ``evaluator`` or ``program``.
        error, trace: of an exception.
    """

    event: Literal["", "kept", "done", "raised"] = ""
    fitness: float = math.nan
    stages: int = 0
    of: int = 0
    metrics: tuple[tuple[str, float], ...] = ()
    notes: Pairs = ()
    artifacts: Pairs = ()
    where: str = ""
    error: str = ""
    trace: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing comes after it."""
        return self.event in ("done", "raised")


NOTHING = Answer()


def answer(told: Any) -> Answer:
    """Return what a line says.

    Raises:
        ValueError, TypeError, LookupError: it is none of the script's.
    """
    event = told["event"]
    if event == "raised":
        before = Answer("raised", **_kept(told)) if "fitness" in told else Answer("raised")
        where, error, trace = (_text(told[name]) for name in ("where", "error", "trace"))
        return replace(before, where=where, error=error, trace=trace)
    if event not in ("kept", "done"):
        raise ValueError(event)
    return Answer(event, **_kept(told))


def _kept(told: Any) -> dict[str, Any]:
    fitness, stages, of = told["fitness"], told["stages"], told["of"]
    if type(stages) is not int or type(of) is not int or not 1 <= stages <= of <= _STAGES[-1]:
        raise ValueError(f"stage {stages} of {of}")
    return {
        "fitness": math.nan if fitness is None else _number(fitness),
        "stages": stages,
        "of": of,
        "metrics": tuple((_name(name), _number(value)) for name, value in told["metrics"][:_MOST]),
        "notes": tuple((_name(name), _text(value)) for name, value in told["notes"][:_MOST]),
        "artifacts": tuple(
            (_name(name), _text(value)) for name, value in told["artifacts"][:_MOST]
        ),
    }


def _number(value: Any) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise ValueError(value)
    return value


def _name(value: Any) -> str:
    """Return a name that may stand in a log and on a terminal."""
    if len(_text(value)) > _MOST_NAME:
        raise ValueError(f"a name of {len(value)} characters")
    return "".join(each if each.isprintable() else "?" for each in value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value
