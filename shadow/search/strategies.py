"""Strategies: whose turn it is to propose. Three of the four are control arms."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ...sdk.errors import ConfigurationError
from .proposers import (
    Constants,
    Context,
    Crossover,
    FromScratch,
    Mutation,
    Probes,
    Proposer,
    Resampled,
    Seeds,
)
from .records import Draft, Record


class Strategy(Protocol):
    """Chooses the next draft; must be a function of its arguments and of what it has learned."""

    def draft(self, context: Context, rng: random.Random) -> Draft | None:
        """Return a draft, or None when there is nothing to propose before more results come."""
        ...

    def learn(self, record: Record) -> None:
        """Hear what became of a proposal; called once per step, in order."""
        ...


class InTurn:
    """Asks proposers in order until one has a draft.

    Args:
        first: asked before all others for as long as they have drafts.
        then: these in random order, the heavier the earlier.
        last: asked when nobody else has a draft.
    """

    def __init__(
        self,
        first: Sequence[Proposer],
        then: Sequence[tuple[float, Proposer]] = (),
        last: Sequence[Proposer] = (),
    ) -> None:
        self._first = first
        self._then = then
        self._last = last

    def draft(self, context: Context, rng: random.Random) -> Draft | None:
        """Return the first draft that is offered."""
        for proposer in (*self._first, *self._drawn(rng), *self._last):
            made = proposer.propose(context, rng)
            if made is not None:
                return made
        return None

    def _drawn(self, rng: random.Random) -> list[Proposer]:
        keyed = [(rng.random() ** (1.0 / weight), proposer) for weight, proposer in self._then]
        return [proposer for _, proposer in sorted(keyed, key=lambda pair: -pair[0])]

    def learn(self, record: Record) -> None:
        """Pass the record on to every proposer."""
        for proposer in (*self._first, *(each for _, each in self._then), *self._last):
            proposer.learn(record)


def evolve(seeds: Mapping[str, str]) -> Strategy:
    """Return the default: seeds, then constants, mutation and crossover, interleaved."""
    return InTurn(
        [Seeds(seeds), Probes()],
        [(0.45, Constants()), (0.4, Mutation()), (0.15, Crossover())],
        [FromScratch(last=True)],
    )


def independent(seeds: Mapping[str, str]) -> Strategy:
    """Return a control arm: seeds, then independent samples around them, nothing learned."""
    return InTurn([Seeds(seeds), Probes(), Resampled(seeds)])


def tuned_seeds(seeds: Mapping[str, str]) -> Strategy:
    """Return a control arm: the seeds, then their constants alone."""
    return InTurn([Seeds(seeds), Probes(), Constants(seeds_only=True)])


def random_programs(seeds: Mapping[str, str]) -> Strategy:
    """Return a control arm: the seeds, then random expressions."""
    return InTurn([Seeds(seeds), Probes(), FromScratch()])


STRATEGIES: dict[str, Callable[[Mapping[str, str]], Strategy]] = {
    "evolve": evolve,
    "independent": independent,
    "seeds": tuned_seeds,
    "random": random_programs,
}


def strategy(name: str, seeds: Mapping[str, str]) -> Strategy:
    """Return a fresh strategy by name.

    Raises:
        ConfigurationError: there is none of this name.
    """
    if name not in STRATEGIES:
        raise ConfigurationError(
            f"unknown strategy {name!r}; known strategies: {', '.join(STRATEGIES)}"
        )
    return STRATEGIES[name](seeds)
