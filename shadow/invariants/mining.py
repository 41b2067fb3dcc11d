"""From rules that a trace keeps to suggestions: tested later, ranked, without what says nothing new.

The decisions are cut in time. Numbers come from the first half, margins from the quarter after it, and the
last quarter tests what came of it. A rule that is broken there is no suggestion. One that is not has a
share of violations below the limit that stands with it, at 95 % for all that were tested together.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...sdk.errors import TraceError
from ...sdk.rules.base import Rule
from ...sdk.rules.file import Suggestion, Suggestions, Support, name_for
from ...sdk.rules.score import Prefers
from . import answers as of_answers
from . import picks as of_picks
from .decisions import Answers, Decided, Picks
from .limits import ALPHA, upper_share

Bools = npt.NDArray[np.bool_]

#: Parts of the decisions: numbers, margins; the rest tests.
_SEEN, _HELD = 0.50, 0.25
#: Fewer decisions than this say too little.
LEAST = 40
#: Decisions that are looked at, evenly over the trace, and whose other choices are.
_MOST_PICKS, _MOST_ANSWERS, _SAMPLED = 30_000, 400, 400
#: Other choices of one decision that rules are tried on.
_MOST_OTHERS = 8
#: A rule that forbids less of the other choices says nothing; of what others forbid already, likewise.
_TRIVIAL, _NEW = 0.02, 0.01
_MOST_SUGGESTED = 30
#: How many names may differ in a number at the end.
_SUFFIXES = range(2, 1_000)


@dataclass(frozen=True, slots=True)
class Mined:
    """What a trace suggests, and what it did not.

    Attributes:
        file: the suggestions.
        tested: rules that were asked about the last quarter.
        refuted: those of them that it broke.
        trivial: rules that forbid next to nothing.
        implied: rules that forbid next to nothing that others do not.
    """

    file: Suggestions
    tested: int
    refuted: int
    trivial: int
    implied: int


@dataclass(frozen=True, eq=False)
class _Candidate:
    rule: Rule
    support: Support
    forbids: Bools


def mine(found: Decided, seed: int = 0) -> Mined:
    """Return what the decisions suggest.

    Args:
        found: decisions of one hook, and what they are held to already.
        seed: of the other choices that are tried.

    Raises:
        TraceError: there are too few decisions, or none had a choice.
    """
    seen, held, test = _parts(found)
    tried = _distinct_rules(_made(seen, held))
    choices = _Choices(seen, random.Random(f"{seed} invariants"))
    measured = [(rule, choices.forbidden(rule)) for rule in tried]
    telling = [(r, f) for r, f in measured if r.ONLY_WARNS or _tells(r, f) or f.mean() >= _TRIVIAL]
    error = ALPHA / max(len(telling), 1)
    tested = [_tested(rule, forbids, seen, held, test, error) for rule, forbids in telling]
    kept = [each for each in tested if not each.support.broken]
    chosen = _new(kept)
    file = Suggestions(
        found.hook,
        found.kind.name,
        found.kind.version,
        found.trace,
        found.whose,
        _named(found, chosen),
    )
    return Mined(
        file,
        tested=len(tested),
        refuted=len(tested) - len(kept),
        trivial=len(measured) - len(telling),
        implied=len(kept) - len(chosen),
    )


def _tells(rule: Rule, forbids: Bools) -> bool:
    """Return whether a rule is about what never happened: it forbids nothing that was at hand."""
    return isinstance(rule, Prefers) and rule.compare == "at_least" and not forbids.any()


def _parts(found: Decided) -> tuple[Picks | Answers, Picks | Answers, Picks | Answers]:
    whole = found.decisions
    most = _MOST_PICKS if isinstance(whole, Picks) else _MOST_ANSWERS
    rows = np.arange(len(whole))
    if isinstance(whole, Picks):
        rows = rows[whole.telling]
    rows = rows[:: len(rows) // most + 1]
    n = len(rows)
    if n < LEAST:
        raise TraceError(
            f"hook {found.hook!r} has {n} decisions here, too few to suggest anything; capture at least "
            f"{LEAST}"
        )
    first, second = int(n * _SEEN), int(n * (_SEEN + _HELD))
    return whole.some(rows[:first]), whole.some(rows[first:second]), whole.some(rows[second:])


def _made(seen: Picks | Answers, held: Picks | Answers) -> Iterable[Rule]:
    if isinstance(seen, Picks) and isinstance(held, Picks):
        return of_picks.candidates(seen, held)
    assert isinstance(seen, Answers) and isinstance(held, Answers)
    return of_answers.candidates(seen, held)


def _distinct_rules(rules: Iterable[Rule]) -> list[Rule]:
    return list(dict.fromkeys(rules))


class _Choices:
    """Other choices than those that were made, on a sample of the decisions."""

    def __init__(self, decisions: Picks | Answers, draw: random.Random) -> None:
        step = len(decisions) // _SAMPLED + 1
        part = decisions.some(np.arange(len(decisions))[::step])
        if isinstance(part, Picks):
            asked = [part.asked(index) for index in range(len(part))]
            self._pairs = [
                (items, item)
                for items, picked in asked
                for item in _some([each for each in items if each is not picked], draw)
            ]
        else:
            self._pairs = [
                (part.pairs[at][0], other) for at, other in of_answers.others(part, draw)
            ]
        if not self._pairs:
            raise TraceError(
                "no decision had a choice, so there is nothing to suggest; capture more"
            )

    def forbidden(self, rule: Rule) -> Bools:
        """Return which of the choices a rule forbids."""
        holds = rule.predicate()
        return np.array([not holds(*pair) for pair in self._pairs])


def _some(items: list[Any], draw: random.Random) -> list[Any]:
    return items if len(items) <= _MOST_OTHERS else draw.sample(items, _MOST_OTHERS)


def _tested(
    rule: Rule,
    forbids: Bools,
    seen: Picks | Answers,
    held: Picks | Answers,
    test: Picks | Answers,
    error: float,
) -> _Candidate:
    holds = rule.predicate()
    broken = sum(not holds(*test.asked(index)) for index in range(len(test)))
    upper = upper_share(broken, len(test), error)
    share = 0.0 if rule.ONLY_WARNS else float(forbids.mean())
    return _Candidate(
        rule, Support(len(seen) + len(held), len(test), broken, upper, share), forbids
    )


def _new(kept: Sequence[_Candidate]) -> list[_Candidate]:
    """Return the rules that forbid most, each only if it forbids what those before it do not."""
    ranked = sorted(kept, key=lambda each: -each.support.forbids)  # among equals the simplest first
    chosen: list[_Candidate] = []
    covered = np.zeros(len(kept[0].forbids), bool) if kept else np.zeros(0, bool)
    for each in ranked:
        if each.rule.ONLY_WARNS or not each.forbids.any():
            chosen.append(each)
        elif (each.forbids & ~covered).mean() >= _NEW:
            chosen.append(each)
            covered |= each.forbids
    return chosen[:_MOST_SUGGESTED]


def _named(found: Decided, chosen: Sequence[_Candidate]) -> tuple[Suggestion, ...]:
    """Return suggestions under names of their own, and of nothing that the hook is held to already."""
    taken = Counter(each.name for each in found.invariants)
    made = []
    for each in chosen:
        label = name_for(each.rule.label())
        free = (name for name in (label, *(f"{label}_{n}" for n in _SUFFIXES)) if name not in taken)
        name = next(free)
        taken[name] += 1
        made.append(Suggestion(name, each.rule, each.support))
    return tuple(made)
