"""The fields of a verdict's file: what each may be, so that nothing odd comes back from one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

_MOST = 2**63
_DECISIONS = ("accepted", "refused", "inconclusive")
_ANSWERS = ("passed", "failed", "inconclusive", "skipped")
_PARTS = ("estimate", "low", "high")


def checked_fields(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a :class:`~gnomon.shadow.gates.verdict.Verdict`, gates as dictionaries.

    Args:
        stored: JSON values by field, the format left out.

    Raises:
        ValueError: a field is missing, unknown, or nothing that this one can be; names it.
    """
    return _fields(_VERDICT, {"profile": {}, **stored}, "a verdict")


def _fields(wanted: Mapping[str, Callable[[Any], Any]], stored: Any, what: str) -> dict[str, Any]:
    if not isinstance(stored, dict):
        _refuse(stored, f"is no object, as {what} is")
    if missing := wanted.keys() - stored.keys():
        raise ValueError(f"{what} has no {min(missing)!r}")
    if unknown := stored.keys() - wanted.keys():
        raise ValueError(f"{what} has an unknown {min(unknown)[:40]!r}")
    found = {}
    for name, read in wanted.items():
        try:
            found[name] = read(stored[name])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from None
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        _refuse(value, "is no text")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -_MOST <= value < _MOST:
        _refuse(value, "is no whole number of 64 bits")
    return value


def _number(value: Any) -> float:
    """Return a number; what JSON cannot say stands there as text (``inf``, ``nan``)."""
    if value in ("inf", "-inf", "nan"):
        return float(value)
    if not isinstance(value, float):  # a whole one is written with its point, too
        _refuse(value, "is no number")
    return value


def _one_of(*choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            _refuse(value, f"is none of {', '.join(choices)}")
        return str(value)

    return read


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(value, "is no object")
    return value


def _list(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def all_of(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            _refuse(value, "is no list")
        return tuple(map(read, value))

    return all_of


def _by_name(read: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {name: read(each) for name, each in _object(value).items()}


def _gate(value: Any) -> dict[str, Any]:
    return _fields(_GATE, value, "a gate")


def _effect(value: Any) -> dict[str, float]:
    return _fields(dict.fromkeys(_PARTS, _number), value, "an effect")


def _profile(value: Any) -> dict[str, Any]:
    return _fields(_PROFILE, value, "a profile") if value else _object(value)


def _feature(value: Any) -> dict[str, Any]:
    return _fields(_FEATURE, value, "a feature of a profile")


def _refuse(value: Any, why: str) -> NoReturn:
    raise ValueError(f"{_word(value)} {why}")


def _word(value: Any) -> str:
    text = repr(value) if isinstance(value, str | float | bool | None) else type(value).__name__
    return text[:40]


_GATE: dict[str, Callable[[Any], Any]] = {
    "name": _text,
    "answer": _one_of(*_ANSWERS),
    "summary": _text,
    "evidence": _object,
    "seconds": _number,
}
_FEATURE: dict[str, Callable[[Any], Any]] = {
    "name": _text,
    "edges": _list(_number),
    "shares": _list(_number),
}
_PROFILE: dict[str, Callable[[Any], Any]] = {
    "decisions": _whole,
    "until_ns": _whole,
    "features": _list(_feature),
}
_VERDICT: dict[str, Callable[[Any], Any]] = {
    "decision": _one_of(*_DECISIONS),
    "reason": _text,
    "summary": _text,
    "hook": _text,
    "kind": _text,
    "kind_version": _whole,
    "source": _text,
    "source_digest": _text,
    "form": _one_of("score", "program"),
    "gates": _list(_gate),
    "fidelity": _object,
    "trace": _text,
    "splits": _by_name(_text),
    "calibration": _text,
    "predicted": _by_name(_effect),
    "layers": _list(_text),
    "isolation": _text,
    "seed": _whole,
    "tool": _text,
    "created_ns": _whole,
    "evaluator": _text,
    "golden": _text,
    "profile": _profile,
}
