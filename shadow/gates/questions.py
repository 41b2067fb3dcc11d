"""What an answer from the holdout depends on, as digests: two questions are one only if all of it is equal."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from types import CodeType
from typing import TYPE_CHECKING, Any

from ...sdk.invariant import Invariant

if TYPE_CHECKING:
    from ..policy import Policy
    from .case import Case

_DEPTH = 4


def question(case: Case) -> str:
    """Return a digest of everything that the holdout's answer depends on besides the holdout."""
    kind = case.kind
    parts = [
        case.target.hook,
        f"{kind.name} v{kind.version}",
        case.source,
        policy_digest(case.target.incumbent),
        *map(invariant_digest, case.target.invariants),
        *(_joined((name, source)) for name, source in sorted(case.against.items())),
        case.calibration_digest,
        str(case.options.seed),
    ]
    return _joined(parts)


def policy_digest(policy: Policy) -> str:
    """Return a digest of what a policy is: its source, its function's code, or its name."""
    source = getattr(policy, "source", None)
    if isinstance(source, str):
        return _joined(("source", source))
    function = getattr(policy, "function", None)
    code = _code_of(function) if function is not None else ""
    return _joined((type(policy).__qualname__, policy.name, code))


def invariant_digest(invariant: Invariant) -> str:
    """Return a digest of an invariant: its name, where it counts, and its predicate's code."""
    words = (invariant.name, invariant.scope, invariant.severity)
    return _joined((*words, _code_of(invariant.holds)))


def code_digest(value: Any) -> str:
    """Return a digest of a function's code, constants, defaults and closure."""
    return _joined((_code_of(value),))


def _code_of(value: Any, depth: int = _DEPTH) -> str:
    """Describe a function by its code, constants, defaults and closure; no path, line or address."""
    if isinstance(value, partial):
        around: tuple[Any, ...] = (value.func, *value.args, *sorted(value.keywords.items()))
        own = "partial"
    elif isinstance(code := getattr(value, "__code__", None), CodeType):
        around = (*_enclosed(value), *(value.__defaults__ or ()), *_named(value, code))
        own = _code(code)
    else:
        return _constant(value)
    if depth == 0:  # a closure may hold its own function
        return own
    return _joined((own, *(_code_of(one, depth - 1) for one in around)))


def _enclosed(function: Any) -> list[Any]:
    found = []
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not bound yet
            found.append(cell.cell_contents)
    return found


def _named(function: Any, code: CodeType) -> list[Any]:
    """Return what the code reads of its module: limits and helpers decide as much as the code does.

    Functions of other modules count by their type only: libraries are no part of a question.
    """
    space, home = getattr(function, "__globals__", {}), function.__module__
    read = [space[name] for name in sorted({*_names(code)}) if name in space]
    return [each for each in read if getattr(each, "__module__", home) == home]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _code(code: CodeType) -> str:
    return _joined((code.co_code.hex(), *code.co_names, *map(_constant, code.co_consts)))


def _constant(value: Any) -> str:
    if isinstance(value, CodeType):
        return _code(value)
    if isinstance(value, (set, frozenset)):  # its order differs from process to process
        return _joined(sorted(map(_constant, value)))
    if isinstance(value, (tuple, list)):
        return _joined(map(_constant, value))
    plain = isinstance(value, (str, bytes, int, float, complex, type(None), type(...)))
    return repr(value) if plain else f"{type(value).__module__}.{type(value).__qualname__}"


def _joined(parts: Iterable[str]) -> str:
    """Return a digest of texts; where one ends and the next begins counts."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
