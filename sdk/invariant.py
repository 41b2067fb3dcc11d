"""Named predicates that must hold, per decision or over a whole replay."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .errors import ConfigurationError

Scope = Literal["decision", "replay"]
Severity = Literal["block", "warn"]


@dataclass(frozen=True, slots=True)
class Invariant:
    """A named predicate over one decision, or over one whole replay.

    Attributes:
        name: identifier, unique within a hook.
        holds: for scope ``decision``: ``holds(items, picked) -> bool``, where ``items`` is a sequence
            of named tuples of the kind's features (one per item) and ``picked`` is one of them.
            For scope ``replay``: ``holds(summary) -> bool`` over the simulator's replay summary.
        scope: ``decision`` or ``replay``.
        severity: ``block`` refuses the decision (the incumbent answers) or the candidate;
            ``warn`` is only counted and reported.
        description: one sentence for reports.

    Raises:
        ConfigurationError: no name, an unknown scope or severity, or a predicate of other arguments, or one
            that gives something to await or to go through, which would always count as true.
    """

    name: str
    holds: Callable[..., bool]
    scope: Scope = "decision"
    severity: Severity = "block"
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse what could never be asked, where it is declared."""
        check_words(self.scope, self.severity)
        if not self.name:
            raise ConfigurationError("an invariant without a name; pass name=")
        arguments = (None, None) if self.scope == "decision" else (None,)
        if not _takes(self.holds, arguments):
            raise ConfigurationError(
                f"invariant {self.name!r} of scope {self.scope}: it must take {_ARGUMENTS[self.scope]}"
            )
        if _never_answers(self.holds):
            raise ConfigurationError(
                f"invariant {self.name!r} is asynchronous or a generator, which answers nothing when it is "
                "called; make it a plain function"
            )

    def asked_of(self, scope: Scope, severity: Severity) -> bool:
        """Return whether it is of this scope and this severity."""
        return self.scope == scope and self.severity == severity


def check_words(scope: str, severity: str) -> None:
    """Refuse an unknown scope or severity with a ConfigurationError that names what there is."""
    for name, given, known in (("scope", scope, Scope), ("severity", severity, Severity)):
        if given not in get_args(known):
            raise ConfigurationError(
                f"{name}={given!r}: use {' or '.join(map(repr, get_args(known)))}"
            )


#: What a predicate is asked with, for people.
_ARGUMENTS = {
    "decision": "(items, picked), or (question, answer) of a kind of program form",
    "replay": "(summary)",
}


def _takes(predicate: Callable[..., bool], arguments: tuple[None, ...]) -> bool:
    try:
        inspect.signature(predicate).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a built-in without a signature: nobody knows before it is asked
        return callable(predicate)
    return True


def _never_answers(predicate: Callable[..., bool]) -> bool:
    """Return whether a call only gives an object, true whatever the predicate would say."""
    called = type(predicate).__call__ if callable(predicate) else None  # of an object
    return any(
        test(each)
        for test in (
            inspect.iscoroutinefunction,
            inspect.isasyncgenfunction,
            inspect.isgeneratorfunction,
        )
        for each in (predicate, called)
    )


def broken_over(summary: Any, invariants: Sequence[Invariant]) -> tuple[Invariant, ...]:
    """Return the replay invariants, of any severity, that do not hold over a replay's summary.

    A predicate that raises counts as not holding.
    """
    return tuple(
        invariant
        for invariant in invariants
        if invariant.scope == "replay" and not _holds(invariant, summary)
    )


def _holds(invariant: Invariant, *asked: Any) -> bool:
    try:
        return bool(invariant.holds(*asked))
    except Exception:  # noqa: BLE001 - a user's predicate; its failure is a failed check
        return False


@dataclass(frozen=True, slots=True)
class Violation:
    """One decision, or one replay, on which an invariant did not hold.

    Attributes:
        invariant: name of the invariant.
        items: the features that were seen, one tuple of floats per item; empty for a replay.
        action: index of the item that was picked; -1 for a replay.
        detail: the broken relation with its values, in words.
    """

    invariant: str
    items: tuple[tuple[float, ...], ...]
    action: int
    detail: str


def violated(
    invariants: Sequence[Invariant], items: Sequence[Any], action: int
) -> Invariant | None:
    """Return the first decision invariant of severity ``block`` that does not hold, or None.

    A predicate that raises counts as not holding.
    """
    picked = items[action]
    for invariant in invariants:
        if invariant.scope != "decision" or invariant.severity != "block":
            continue
        try:
            if not invariant.holds(items, picked):
                return invariant
        except Exception:  # noqa: BLE001 - a user's predicate; its failure is a failed check
            return invariant
    return None


def warned(invariants: Sequence[Invariant], asked: Any, answer: Any) -> tuple[str, ...]:
    """Return the names of the decision invariants of severity ``warn`` that do not hold.

    Args:
        invariants: of any scope and severity.
        asked: items, or the question of a program.
        answer: the picked item, or the program's answer.
    """
    return tuple(
        invariant.name
        for invariant in invariants
        if invariant.asked_of("decision", "warn") and not _holds(invariant, asked, answer)
    )


def refused_by(detail: str) -> tuple[str, ...]:
    """Return the name of the invariant for which a record's detail says that an answer was not used."""
    kind, _, name = detail.partition(":")
    return (name,) if kind == "violation" else ()
