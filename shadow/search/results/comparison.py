"""What several strategies found with the same budget and seeds, and whether one of them is better."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...report.shown import Part, Shown, Table, percent, plain
from ..strategies import CONTROLS
from .gains import gain

Interval = tuple[float, float]
#: Seeds below which nothing is claimed: with fewer, all may agree by chance more than one time in twenty.
LEAST_SEEDS = 5
_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Run:
    """One search of the comparison.

    Attributes:
        strategy, seed: of the search.
        winner: name of the winner, ``evolved`` or that of a published policy; empty when there is none.
        program: id of the winner.
        train, validation: the winner's scores, lower is better; NaN when there is none.
        gain: of the winner over the best published policy, both on validation; 0 when that one won.
        evaluations: that were counted against the budget.
        stopped: why it ended.
    """

    strategy: str
    seed: int
    winner: str
    program: str
    train: float
    validation: float
    gain: float
    evaluations: int
    stopped: str


@dataclass(frozen=True, slots=True)
class Arm:
    """What one strategy found over all seeds.

    Attributes:
        strategy: its name.
        control: whether it is a control arm.
        seeds: runs with a winner.
        validation: mean score of the winners on validation.
        gain: mean gain over the best published policy on validation, as a fraction.
        gain_limits: 95 % limits of that mean over seeds, or None with fewer than two.
        ahead: mean gain over the best control arm's winner of the same seed; NaN without one.
        ahead_limits: limits of that mean that hold for all strategies together with 95 %, or None.
        evolved: in how many runs the winner is no published policy.
    """

    strategy: str
    control: bool
    seeds: int
    validation: float
    gain: float
    gain_limits: Interval | None
    ahead: float
    ahead_limits: Interval | None
    evolved: int


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(Shown):
    """Strategies beside each other.

    Attributes:
        arms: best mean gain first.
        runs: by strategy and seed; only those that ended.
        rival: the control arm with the best mean gain; empty when none takes part, and gains are then
            judged against the best published policy.
        better: strategies that are certainly better than the rival, best first.
        stopped: ``done``, or ``interrupted``.
        budget: evaluations of every run.
        shared: evaluations that another run had paid for.
        folder: that holds ``comparison.json`` and a folder for every run.
    """

    arms: tuple[Arm, ...]
    runs: tuple[Run, ...]
    rival: str
    better: tuple[str, ...]
    stopped: str
    budget: int
    shared: int
    folder: Path | None = None

    @property
    def verdict(self) -> str:
        """One sentence on whether a strategy is worth its name here."""
        if self.stopped == "interrupted":
            return "no verdict: interrupted; continue with the same options and --resume"
        ours = [arm for arm in self.arms if not arm.control and arm.seeds]
        if not ours:
            return "no verdict: no strategy beside the control arms found a program with a score"
        against = (
            f"{self.rival}, the best control arm" if self.rival else "the best published policy"
        )
        leading = ours[0]
        said = f"the best of them, {leading.strategy}, gains {percent(_lead(leading))}{_words(_limits(leading))}"
        if leading.seeds < LEAST_SEEDS:
            least = f"with fewer than {LEAST_SEEDS} seeds nothing is claimed"
            return f"no verdict: {least}; {said} over {against}"
        if self.better:
            return f"better than {against}: {', '.join(self.better)}; {said} over it"
        return f"no strategy is better than {against}; {said} over it"

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: the table, what its limits mean, and the verdict."""
        rows = tuple(_row(arm) for arm in self.arms)
        head = ("strategy", "seeds", "validation", "over published", f"over {self.rival or '-'}")
        title = f"Winners after {self.budget} evaluations, lower is better on validation"
        return (
            Table((*head, "evolved"), rows, title),
            "Limits are Student's t over seeds, on this trace alone; another trace may say otherwise.",
            self.verdict,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the whole comparison as JSON values; a number that is missing is null."""
        values: dict[str, Any] = plain(asdict(self))
        return values | {"verdict": self.verdict}


def compared(
    runs: Sequence[Run], *, budget: int, shared: int, stopped: str, folder: Path | None = None
) -> Comparison:
    """Return the comparison of runs that ended.

    What one strategy is ahead of another is paired by seed. The rival is the control arm that did best here,
    which if anything flatters it. To be better, the lower limit has to be above zero after Bonferroni's
    correction for the number of strategies, with :data:`LEAST_SEEDS` seeds or more.
    """
    names = list(dict.fromkeys(run.strategy for run in runs))
    by_seed = {name: {r.seed: r for r in runs if r.strategy == name} for name in names}
    means = {name: _mean([run.gain for run in by_seed[name].values()]) for name in names}
    controls = [name for name in names if name in CONTROLS and not math.isnan(means[name])]
    rival = max(controls, key=lambda name: means[name], default="")
    tried = sum(name not in CONTROLS for name in names)
    arms = [_arm(name, by_seed[name], by_seed.get(rival, {}), max(tried, 1)) for name in names]
    arms.sort(key=lambda arm: (math.isnan(arm.gain), -arm.gain, arm.control, arm.strategy))
    return Comparison(
        arms=tuple(arms),
        runs=tuple(runs),
        rival=rival,
        better=tuple(arm.strategy for arm in arms if _better(arm)),
        stopped=stopped,
        budget=budget,
        shared=shared,
        folder=folder,
    )


def _arm(name: str, ours: dict[int, Run], rivals: dict[int, Run], tried: int) -> Arm:
    gains = [run.gain for run in ours.values() if not math.isnan(run.gain)]
    pairs = [
        gain(rivals[seed].validation, run.validation)
        for seed, run in ours.items()
        if seed in rivals
    ]
    ahead = [each for each in pairs if not math.isnan(each)]
    control = name in CONTROLS
    return Arm(
        strategy=name,
        control=control,
        seeds=len(gains),
        validation=_mean([run.validation for run in ours.values()]),
        gain=_mean(gains),
        gain_limits=limits(gains, _ALPHA if rivals or control else _ALPHA / tried),
        ahead=_mean(ahead),
        ahead_limits=limits(ahead, _ALPHA if control else _ALPHA / tried),
        evolved=sum(run.winner == "evolved" for run in ours.values()),
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.fmean(known) if known else math.nan


def limits(values: Sequence[float], alpha: float) -> Interval | None:
    """Return limits of a mean by Student's t, which are off with probability alpha; None below two values."""
    if len(values) < 2:
        return None
    from ...limits import student

    reach = student(alpha / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    middle = statistics.fmean(values)
    return middle - reach, middle + reach


def _lead(arm: Arm) -> float:
    return arm.gain if math.isnan(arm.ahead) else arm.ahead


def _limits(arm: Arm) -> Interval | None:
    return arm.gain_limits if math.isnan(arm.ahead) else arm.ahead_limits


def _better(arm: Arm) -> bool:
    known = _limits(arm)
    return not arm.control and arm.seeds >= LEAST_SEEDS and known is not None and known[0] > 0.0


def _row(arm: Arm) -> tuple[str, ...]:
    return (
        f"{arm.strategy} (control)" if arm.control else arm.strategy,
        str(arm.seeds),
        f"{arm.validation:.6g}" if arm.seeds else "-",
        _cell(arm.gain, arm.gain_limits),
        _cell(arm.ahead, arm.ahead_limits),
        str(arm.evolved),
    )


def _cell(value: float, known: Interval | None) -> str:
    return "-" if math.isnan(value) else f"{percent(value)}{_words(known)}"


def _words(known: Interval | None) -> str:
    return f" ({percent(known[0])} to {percent(known[1])})" if known else ""
