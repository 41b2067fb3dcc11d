"""Records as lines of a log and back. A line may come from anywhere, so every value's type is checked.

The chain of hashes shows that a log was edited by somebody who did not know of the chain. It does not show
what a faulty or hostile writer put in, which is found here instead of where it would do harm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from .records import Outcome, Record

Line = dict[str, Any]
_NEVER = object()
#: Whole numbers that a float holds exactly.
_MOST_COUNT = 1 << 53
#: What every line has, though a record need not; the others a line leaves out where they are as usual.
_EVEN_SO = {"score", "segments", "reason"}
_USUAL = {
    field.name: field.default
    for field in fields(Record)
    if field.default is not MISSING and field.name not in _EVEN_SO
}


@dataclass(frozen=True, slots=True)
class Scored:
    """One finalist as the line that closes a log has it.

    Attributes:
        name: of the published policy, ``incumbent``, or ``evolved``.
        program: id of the source.
        train, validation: scores; NaN where there is none.
        segments: mean outcome per stretch of validation; may be empty.
    """

    name: str
    program: str
    train: float
    validation: float
    segments: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Final:
    """The line that closes a log.

    Attributes:
        stopped: why the run ended.
        winner: program id, or an empty string.
        finalists: best on validation first.
        incumbent: program id of the finalist that is in production; its measured scores where it is no
            program; None where it is not known.
    """

    stopped: str
    winner: str
    finalists: tuple[Scored, ...]
    incumbent: str | Scored | None = None


def encoded(record: Record) -> Line:
    """Return a record as JSON values; what is as usual is left out, a number that JSON lacks is null."""
    values = {name: getattr(record, name) for name in _RECORD}
    values["parents"] = list(record.parents)
    values["score"] = _null(record.score)
    values["segments"] = [_null(value) for value in record.segments]
    values["metrics"] = [[name, _null(value)] for name, value in record.metrics]
    kept = {name: value for name, value in values.items() if value != _USUAL.get(name, _NEVER)}
    if not record.metrics:
        del kept["metrics"]
    return kept


def decoded(line: Mapping[str, Any]) -> Record:
    """Return the record of a proposal's line; raises ValueError that names what is wrong with it."""
    values = {key: value for key, value in line.items() if key not in {"id", "type"}}
    unknown = values.keys() - _RECORD.keys()
    if unknown:
        raise ValueError(f"unknown field {min(unknown)!r}")
    lacking = _REQUIRED - values.keys()
    if lacking:
        raise ValueError(f"no field {min(lacking)!r}")
    made = Record(**{name: _read(name, _RECORD[name], value) for name, value in values.items()})
    if (made.outcome is Outcome.OK) != math.isfinite(made.score):
        raise ValueError(f"score={made.score} with outcome={made.outcome!s}")
    return made


def encoded_final(final: Final) -> Line:
    """Return what closes a log, as JSON values."""
    known = final.incumbent
    return {
        "stopped": final.stopped,
        "winner": final.winner or None,
        "finalists": [_entry(each) for each in final.finalists],
        "incumbent": _entry(known) if isinstance(known, Scored) else known,
    }


def _entry(of: Scored) -> list[Any]:
    segments = [_null(value) for value in of.segments]
    return [of.name, of.program, _null(of.train), _null(of.validation), segments]


def decoded_final(line: Mapping[str, Any]) -> Final:
    """Return what closes a log; raises ValueError that names what is wrong with it."""
    found = [_scored(each, "finalists") for each in _list(line.get("finalists"), "finalists")]
    known = line.get("incumbent")
    if known is not None and not isinstance(known, str):
        known = _scored(known, "incumbent")
    winner = line.get("winner")
    return Final(
        _read("stopped", _text, line.get("stopped")),
        "" if winner is None else _read("winner", _text, winner),
        tuple(found),
        known,
    )


def decoded_hint(line: Mapping[str, Any]) -> tuple[int, str]:
    """Return step and words of a hint; raises ValueError that names what is wrong with it."""
    return _read("step", _count, line.get("step")), _read("text", _text, line.get("text"))


def _scored(value: Any, of: str) -> Scored:
    entry = _list(value, of)
    if len(entry) != 5:
        raise ValueError(f"{of} of {len(entry)} values")
    name, program = (_read(of, _text, each) for each in entry[:2])
    train, validation = (_read(of, _score, each) for each in entry[2:4])
    return Scored(name, program, train, validation, _read(of, _numbers, entry[4]))


def _list(value: Any, name: str) -> list[Any]:
    return list(_read(name, _listed, value))


def _read(name: str, kind: Callable[[Any], Any], value: Any) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}={value!r:.60}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST_COUNT:
        raise TypeError
    return value


def _known(value: Any) -> int:
    return -1 if type(value) is int and value == -1 else _count(value)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _score(value: Any) -> float:
    return math.nan if value is None else _number(value)


def _cost(value: Any) -> float | None:
    cost = None if value is None else _number(value)
    if cost is not None and cost < 0.0:
        raise ValueError
    return cost


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(each) for each in _listed(value))


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(_score(each) for each in _listed(value))


def _metrics(value: Any) -> tuple[tuple[str, float], ...]:
    pairs = [_listed(each) for each in _listed(value)]
    return tuple((_text(name), _score(number)) for name, number in pairs)


def _null(value: float) -> float | None:
    return value if math.isfinite(value) else None


#: What every field of a record may hold.
_RECORD: dict[str, Callable[[Any], Any]] = {
    "step": _count,
    "program": _text,
    "key": _text,
    "source": _text,
    "operator": _text,
    "parents": _texts,
    "nodes": _count,
    "outcome": Outcome,
    "score": _score,
    "segments": _numbers,
    "reason": _text,
    "author": _text,
    "place": _text,
    "cost": _cost,
    "tokens_in": _count,
    "tokens_out": _count,
    "prompt": _text,
    "feedback": _text,
    "metrics": _metrics,
    "known": _known,
}
_REQUIRED = {field.name for field in fields(Record) if field.name not in _USUAL}
