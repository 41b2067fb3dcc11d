"""What the commands that search have in common."""

from __future__ import annotations

from typing import Any

from ..sdk.errors import ConfigurationError

STRATEGIES = (
    *("evolve", "map_elites", "bandit", "pareto"),
    *("independent", "seeds", "random", "published"),
)
STARTS = ("library", "incumbent", "weak")


def require_limits(budget: int, seconds: float, parallel: int) -> None:
    """Refuse limits under which no search is possible; raises ConfigurationError."""
    from ..shadow.search.core import WINDOW

    if budget < 1:
        raise ConfigurationError(f"--budget {budget} evaluates no program; give 1 or more")
    if not seconds > 0.0:
        raise ConfigurationError(
            f"--seconds {seconds:g} leaves no time to search; give a positive number"
        )
    if not 1 <= parallel <= WINDOW:
        raise ConfigurationError(f"--parallel {parallel}: choose a number from 1 to {WINDOW}")


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> Any:
    """Return the value of an option; raises ConfigurationError for one that is not allowed."""
    if value not in allowed:
        raise ConfigurationError(f"--{name} {value!r}: choose one of {', '.join(allowed)}")
    return value
