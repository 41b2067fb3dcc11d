"""What the commands that search have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..sdk.errors import ConfigurationError
from . import _complete
from ._progress import WAYS

if TYPE_CHECKING:
    from ..shadow.search.driver import Options

STRATEGIES = (
    *("evolve", "map_elites", "bandit", "pareto"),
    *("independent", "seeds", "random", "published"),
)
STARTS = ("library", "incumbent", "weak")

Strategy = Annotated[
    str,
    typer.Option(
        help="evolve, map_elites, bandit or pareto; controls: independent, seeds, random, published.",
        autocompletion=_complete.words(*STRATEGIES),
    ),
]
Start = Annotated[
    str,
    typer.Option(
        help="library (published policies), incumbent or weak.",
        autocompletion=_complete.words(*STARTS),
    ),
]
Racing = Annotated[bool, typer.Option(help="Stop an evaluation once its program cannot matter.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="With nothing left to do, wait for gnomon tell.")
]
Progress = Annotated[
    str,
    typer.Option(
        help="auto (a live view on a terminal, else lines), lines, json or none.",
        autocompletion=_complete.words(*WAYS),
    ),
]


@dataclass(frozen=True)
class Given:
    """What the command line says of a search."""

    budget: int
    seconds: float
    max_cost: float
    seed: int
    strategy: str
    start: str
    parallel: int
    racing: bool
    resume: bool
    wait: bool

    def options(self) -> Options:
        """Return how to search; raises ConfigurationError for what is not possible."""
        from ..shadow.search.driver import Options
        from ..shadow.search.records import Budget

        return Options(
            budget=Budget(self.budget, seconds=self.seconds, dollars=self.max_cost),
            seed=self.seed,
            strategy=one_of("strategy", self.strategy, STRATEGIES),
            start=one_of("start", self.start, STARTS),
            parallel=self.parallel,
            racing=self.racing,
            resume=self.resume,
            wait=self.wait,
        )


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
