"""Proposers (solution generators): where programs come from. All of these need no key and no network."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from .context import Choice, Context
from .evaluating.racing import at_least
from .keyless.tuning import Tuning
from .records import Brief, Draft, Outcome, Record, program_id

#: Decisions without a pick after which a probing policy tries an item.
PROBE_AFTER = (300, 60)
#: Seeds that are extended in one search.
MOST_EXTENDED = 4
_EXPONENT = 0.75
_BEGINNINGS = ("seed:", "probe:", "bare:")


class Proposer(Protocol):
    """Makes drafts, or briefs for a writer, of what a strategy chose."""

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Draft | Brief | None:
        """Return a draft, or None when there is nothing to propose before more results come."""
        ...

    def learn(self, record: Record) -> None:
        """Hear what became of a proposal, whoever made it; called once per step, in order."""
        ...


class Seeds:
    """Proposes given programs, one after the other.

    Args:
        sources: by name.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._queue = list(sources.items())

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Draft | None:
        """Return the next seed; None when all have been proposed."""
        if not self._queue:
            return None
        name, source = self._queue.pop(0)
        return Draft(source, f"seed:{name}")

    def learn(self, record: Record) -> None:
        """Propose a seed again that the evaluator failed on."""
        maker, _, name = record.operator.partition(":")
        if maker == "seed" and record.outcome is Outcome.EVALUATOR_ERROR:
            self._queue.append((name, record.source))


class Probes:
    """Proposes a seed that broke an invariant again, with a probe: an item unpicked for long goes first.

    What a policy believes of an item that it avoids grows old; many a published policy never finds out
    that a slow backend has recovered.
    """

    def __init__(self) -> None:
        self._queue: list[tuple[str, str, int]] = []

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Draft | None:
        """Return the next probing seed; None when there is none."""
        while self._queue:
            program, source, decisions = self._queue.pop(0)
            child = context.space.dialect.probing(source, context.space, decisions)
            if child is not None:
                return Draft(child, f"probe:{decisions}", (program,))
        return None

    def learn(self, record: Record) -> None:
        """Take up a seed that broke an invariant."""
        if record.operator.startswith("seed:") and record.outcome is Outcome.VIOLATION:
            self._queue += [(record.program, record.source, n) for n in PROBE_AFTER]


class Bare:
    """Proposes every seed again without one of its conditions, loops or updates.

    A guard that a published policy needs where it was published may be what does not fit this workload; a
    random change hardly ever takes exactly that out.

    Args:
        sources: of the seeds, by name.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = list(sources.items())
        self._queue: list[Draft] = []

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Draft | None:
        """Return the next one; None when there is none left."""
        while self._sources and not self._queue:
            name, source = self._sources.pop(0)
            left = context.space.dialect.bare(source, context.space)
            parents = (program_id(source),)
            self._queue = [Draft(child, f"bare:{name}", parents) for child in left]
        return self._queue.pop(0) if self._queue else None

    def learn(self, record: Record) -> None:
        """Learn nothing: what it proposes is fixed."""


class Mutation:
    """Proposes the chosen parent, mutated."""

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Draft | None:
        """Return a draft with one parent; None while there is none."""
        parent = choice.parent
        dialect = context.space.dialect
        child = dialect.mutated(parent.source, context.space, rng) if parent else None
        return _draft(*child, (parent,), choice) if parent and child else None

    def learn(self, record: Record) -> None:
        """Learn nothing: the strategy remembers."""


class Crossover:
    """Proposes a program made of the chosen parent and the first of the others."""

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Draft | None:
        """Return a draft with two parents; None while there are not two that fit."""
        mother, father = choice.parent, next(iter(choice.others), None)
        if mother is None or father is None or mother == father:
            return None
        child = context.space.dialect.crossed(mother.source, father.source, context.space, rng)
        return _draft(child, "crossover", (mother, father), choice) if child else None

    def learn(self, record: Record) -> None:
        """Learn nothing: the strategy remembers."""


class FromScratch:
    """Proposes random expressions.

    Args:
        last: whether to do so only when no result is to come that others could build on.
    """

    def __init__(self, *, last: bool = False) -> None:
        self._last = last

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Draft | None:
        """Return a draft without parents; None for programs, which are not made so."""
        if self._last and not context.settled:
            return None
        source = context.space.dialect.scratch(context.space, rng)
        return Draft(source, "random") if source is not None else None

    def learn(self, record: Record) -> None:
        """Learn nothing."""


class Resampled:
    """Proposes independent mutations of fixed programs, whatever came of the earlier ones.

    Args:
        sources: to start from.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = list(sources.values())

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Draft | None:
        """Return a seed after one to four mutations; None when none of them took."""
        source, operators = rng.choice(self._sources), []
        for _ in range(rng.randint(1, 4)):
            child = context.space.dialect.mutated(source, context.space, rng)
            if child is not None:
                source = child[0]
                operators.append(child[1])
        return Draft(source, "+".join(operators)) if operators else None

    def learn(self, record: Record) -> None:
        """Learn nothing: the samples are independent."""


class Constants:
    """Proposes programs of the chosen pool with other constants, one CMA-ES run after the other.

    Args:
        seeds_only: whether to tune seeds alone, as a control arm does.
    """

    def __init__(self, *, seeds_only: bool = False) -> None:
        self._seeds_only = seeds_only
        self._tuning: Tuning | None = None
        self._parent = self._place = ""
        self._tickets: dict[int, int] = {}
        self._runs: Counter[str] = Counter()
        self._scores: dict[str, float] = {}  # by canonical form: what a duplicate would score
        self._seeds: list[Record] = []

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Draft | None:
        """Return a draft with other literals; None while a generation's results are awaited."""
        if self._tuning is None or self._tuning.over:
            self._begin(choice, context, rng)
        asked = self._tuning.ask() if self._tuning else None
        if asked is None:
            return None
        self._tickets[context.step] = asked[0]
        return Draft(asked[1], "constants", (self._parent,), place=self._place)

    def _pool(self, choice: Choice) -> Sequence[Record]:
        if self._seeds_only:
            return self._seeds
        return choice.pool or ([choice.parent] if choice.parent else [])

    def _begin(self, choice: Choice, context: Context, rng: random.Random) -> None:
        self._tuning = None
        candidates, self._place = self._pool(choice), choice.place
        dialect = context.space.dialect
        tunable = [record for record in candidates if dialect.constants(record.source)]
        if not tunable:
            return
        skeletons = [dialect.skeleton(record.source) for record in tunable]
        order = sorted(range(len(tunable)), key=lambda i: i + 6 * self._runs[skeletons[i]])
        chosen = tunable[order[0]]
        self._runs[skeletons[order[0]]] += 1
        self._parent = chosen.program
        self._tuning = Tuning(chosen.source, chosen.score, dialect, rng.getrandbits(63))

    def learn(self, record: Record) -> None:
        """Hand a result to the run that asked for it."""
        if record.outcome in (Outcome.OK, Outcome.STOPPED):
            self._scores[record.key] = at_least(record)
            self._note_seed(record)
        ticket = self._tickets.pop(record.step, None)
        if ticket is not None and self._tuning is not None:
            self._tuning.tell(ticket, self._scores.get(record.key, float("inf")))

    def _note_seed(self, record: Record) -> None:
        if record.operator.startswith("seed:") and record.outcome is Outcome.OK:
            self._seeds.append(record)
            self._seeds.sort(key=lambda seed: (seed.score, seed.nodes, seed.step))


class Extended(Constants):
    """Proposes the best seeds with all features added, weighted in the logarithm, one CMA-ES run for each.

    The weights begin at 0, where a seed decides as it was published, so that whatever is better is near
    something good; a product of powers gets other exponents and other factors.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: list[Record] = []
        self._extended: set[str] = set()

    def _begin(self, choice: Choice, context: Context, rng: random.Random) -> None:
        self._tuning, dialect = None, context.space.dialect
        for record in sorted(self._known, key=lambda each: (each.score, each.nodes, each.step)):
            if record.program in self._extended or len(self._extended) >= MOST_EXTENDED:
                continue
            source = dialect.extended(record.source, context.space)
            if source is not None:
                self._extended.add(record.program)
                self._parent = record.program
                seed = rng.getrandbits(63)
                self._tuning = Tuning(source, record.score, dialect, seed, _EXPONENT)
                return

    def learn(self, record: Record) -> None:
        """Take up what a search begins with, and hand a result to the run that asked for it."""
        if record.operator.startswith(_BEGINNINGS) and record.outcome is Outcome.OK:
            self._known.append(record)
        super().learn(record)


def _draft(source: str, operator: str, parents: tuple[Record, ...], choice: Choice) -> Draft:
    named = tuple(parent.program for parent in parents)
    return Draft(source, operator, named, place=choice.place, trial=choice.trial)
