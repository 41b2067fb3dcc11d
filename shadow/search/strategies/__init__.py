"""Strategies by name: what the next program is made of, and whose turn it is to make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ....sdk.errors import ConfigurationError
from ..proposers import (
    Bare,
    Constants,
    Crossover,
    Extended,
    FromScratch,
    Mutation,
    Probes,
    Resampled,
    Seeds,
)
from .bandit import Ensemble
from .base import Makers, Mixed, Strategy
from .in_turn import InTurn
from .map_elites import MapElites
from .pareto import Pareto

__all__ = ["CONTROLS", "STRATEGIES", "InTurn", "Makers", "Mixed", "Strategy", "keyless", "strategy"]


def keyless() -> Makers:
    """Return fresh proposers that need neither key nor network, with their weights."""
    return ((0.25, Extended()), (0.3, Constants()), (0.3, Mutation()), (0.15, Crossover()))


def evolve(seeds: Mapping[str, str], makers: Makers) -> Strategy:
    """Return the default: seeds, then all proposers, interleaved."""
    return InTurn([Seeds(seeds), Probes(), Bare(seeds)], makers, [FromScratch(last=True)])


def independent(seeds: Mapping[str, str], makers: Makers) -> Strategy:
    """Return a control arm: seeds, then independent samples around them, nothing learned."""
    return InTurn([Seeds(seeds), Probes(), Resampled(seeds)])


def tuned_seeds(seeds: Mapping[str, str], makers: Makers) -> Strategy:
    """Return a control arm: the seeds, then their constants alone."""
    return InTurn([Seeds(seeds), Probes(), Constants(seeds_only=True)])


def published(seeds: Mapping[str, str], makers: Makers) -> Strategy:
    """Return a control arm: the seeds alone, so that the best published policy comes out."""
    return InTurn([Seeds(seeds)])


def random_programs(seeds: Mapping[str, str], makers: Makers) -> Strategy:
    """Return a control arm: the seeds, then random expressions."""
    return InTurn([Seeds(seeds), Probes(), FromScratch()])


STRATEGIES: dict[str, Callable[[Mapping[str, str], Makers], Strategy]] = {
    "evolve": evolve,
    "map_elites": MapElites,
    "bandit": Ensemble,
    "pareto": Pareto,
    "independent": independent,
    "seeds": tuned_seeds,
    "random": random_programs,
    "published": published,
}

#: Those that show what a search without a clever strategy finds.
CONTROLS = ("independent", "seeds", "random", "published")


def strategy(name: str, seeds: Mapping[str, str], makers: Makers | None = None) -> Strategy:
    """Return a fresh strategy by name.

    Args:
        makers: fresh proposers with their weights; None for the keyless ones.

    Raises:
        ConfigurationError: there is none of this name.
    """
    if name not in STRATEGIES:
        raise ConfigurationError(
            f"unknown strategy {name!r}; known strategies: {', '.join(STRATEGIES)}"
        )
    return STRATEGIES[name](seeds, keyless() if makers is None else makers)
