"""A comparison of policies as a value: rows, tables, what is said over all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..fidelity import Fidelity
from ..report.shown import Part, Shown, plain
from ..splits import Interval
from .cells import Measured, Numbers, Setting
from .effects import LEVEL, Change, change, joint_level, mean_change


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """What one policy did, on average over the replicas.

    Attributes:
        policy: its name.
        tier: how it ran: ``built-in``, ``compiled``, ``plain Python``, ``out of process``.
        mean, p50, p99: of the objective, in its unit; NaN when the policy failed.
        failure_rate: part of the decisions whose work failed.
        shares: part of the decisions per member; empty where items come and go.
        change: of the mean against the incumbent, relative, with a 95 % interval; None when the
            policy failed or is the incumbent.
        broken: names of replay invariants of severity ``block`` that did not hold in some replica.
        warned: those of severity ``warn``, likewise.
        fault: what went wrong; empty when nothing did.
        together: as ``change``, with an interval so wide that those of all policies of the table hold
            at once with 95 %.
        figures: what else the kind is compared by, name with unit to value.
        good: part of the decisions that met every level of service; NaN where none is asked for.
        good_per_s: how many did, per second of the trace.
        segments: mean outcome of 20 stretches of equally many decisions.
        layers: of isolation around a policy that ran out of process; none around others.
    """

    policy: str
    tier: str
    mean: float
    p50: float
    p99: float
    failure_rate: float
    shares: tuple[float, ...]
    change: Interval | None
    broken: tuple[str, ...] = ()
    fault: str = ""
    together: Interval | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    good: float = math.nan
    good_per_s: float = math.nan
    segments: tuple[float, ...] = ()
    warned: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OverallRow:
    """One policy over several traces or sizes.

    Attributes:
        policy: its name.
        change: mean over the tables of its change against each one's incumbent, with a 95 % interval;
            None when it failed in any.
        together: as ``change``, with intervals of all policies that hold at once with 95 %.
        worst: its largest change.
        worst_on: the table that it is from.
        failed_on: tables in which it failed.
    """

    policy: str
    change: Interval | None
    together: Interval | None
    worst: float
    worst_on: str
    failed_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class ReplayTable(Shown):
    """A comparison of policies on one trace, or the first of several.

    Attributes:
        hook, kind: of the trace.
        trace: digest.
        decisions: how many.
        members: names of the items; empty where they come and go.
        unit: of the objective.
        statistics: those of the objective that say anything.
        fidelity: how well the incumbent was reproduced.
        calibration: the fitted parameters, in words and JSON values.
        bound: mean outcome that no policy can beat; ``-inf`` where none is proven.
        replicas: replays per policy.
        rows: the incumbent, then the others, best mean first, those that failed last.
        label: which trace, at which size, for those who see several.
        size: share that the trace was brought to; None for the trace as it was recorded.
        slos: levels of service that a good decision meets.
        further: tables of the other traces and sizes, in order.
        overall: over all of them, best mean change first; empty where there is one.
    """

    hook: str
    kind: str
    trace: str
    decisions: int
    members: tuple[str, ...]
    unit: str
    statistics: tuple[str, ...]
    fidelity: Fidelity
    calibration: dict[str, Any]
    bound: float
    replicas: int
    rows: tuple[PolicyRow, ...]
    label: str = ""
    size: float | None = None
    slos: tuple[str, ...] = ()
    further: tuple[ReplayTable, ...] = ()
    overall: tuple[OverallRow, ...] = ()

    @property
    def tables(self) -> tuple[ReplayTable, ...]:
        """This and the further ones."""
        return (self, *self.further)

    def as_json(self) -> dict[str, Any]:
        """Return the table as JSON values; numbers that JSON does not have are null."""
        values: dict[str, Any] = plain(asdict(self))
        return values

    @property
    def digits(self) -> int:
        """Significant digits that are shown: where the mean alone says anything it is a share."""
        return 6 if self.statistics == ("mean",) else 4

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: what is said over all, then every table, fidelity first."""
        from ..report.replays import parts

        return parts(self)

    def plot(self, path: Path) -> None:
        """Write the changes of all policies, with their intervals, as ``.svg`` or ``.png``.

        Raises:
            ConfigurationError: the name ends in neither.
        """
        from ..report.replays import write_plot

        write_plot(self, path)

    def report(self, path: Path) -> None:
        """Write tables and plot as one HTML file that stands alone."""
        from ..report.replays import write_report

        write_report(self, path)


@dataclass(frozen=True, eq=False)
class Compared:
    """Everything that one table is made of.

    Attributes:
        label: which trace, at which size.
        size: share, or None.
        setting: what was replayed on.
        incumbent: its name and what it did.
        others: the same of every other policy.
        fidelity: of the incumbent.
        bound: mean that no policy can beat.
        seed: of the resampling.
    """

    label: str
    size: float | None
    setting: Setting
    incumbent: tuple[str, Measured]
    others: Sequence[tuple[str, Measured]]
    fidelity: Fidelity
    bound: float
    seed: int

    def changes(self) -> list[Change | None]:
        """Return the change of each of the others, None of one that failed.

        Raises:
            TraceError: too few blocks of time to say how they vary.
        """
        base, block_s = self.incumbent[1], self.setting.trace.block_s
        return [
            None if one.fault else change(one, base, block_s, self.seed) for _, one in self.others
        ]


def table_of(all_compared: Sequence[Compared]) -> ReplayTable:
    """Return the first table, with the further ones and what is said over all.

    Raises:
        TraceError: too few blocks of time to say how they vary.
    """
    changes = [compared.changes() for compared in all_compared]
    first, *rest = (_table(each, own) for each, own in zip(all_compared, changes, strict=True))
    if not rest:
        return first
    values = {name: getattr(first, name) for name in ReplayTable.__dataclass_fields__}
    return ReplayTable(
        **values | {"further": tuple(rest), "overall": _overall(all_compared, changes)}
    )


def _table(compared: Compared, changes: Sequence[Change | None]) -> ReplayTable:
    trace, kind = compared.setting.trace, compared.setting.simulator.kind
    level = joint_level(sum(each is not None for each in changes))
    rows = [
        _row(name, one, own.interval(LEVEL), own.interval(level)) if own else _failed(name, one)
        for (name, one), own in zip(compared.others, changes, strict=True)
    ]
    rows.sort(key=lambda row: (bool(row.fault), row.mean))
    return ReplayTable(
        hook=trace.hook,
        kind=trace.kind,
        trace=trace.digest,
        decisions=len(trace),
        members=trace.members,
        unit=kind.objective.unit,
        statistics=kind.objective.statistics,
        fidelity=compared.fidelity,
        calibration=compared.setting.calibration.describe(),
        bound=compared.bound,
        replicas=len(compared.incumbent[1].replicas),
        rows=(_row(*compared.incumbent, None, None), *rows),
        label=compared.label,
        size=compared.size,
        slos=tuple(str(slo) for slo in compared.setting.slos),
    )


def _row(name: str, one: Measured, alone: Interval | None, together: Interval | None) -> PolicyRow:
    def mean(of: str) -> float:
        return float(np.mean([getattr(replica, of) for replica in one.replicas]))

    return PolicyRow(
        name,
        one.tier,
        mean("mean"),
        mean("p50"),
        mean("p99"),
        mean("failure_rate"),
        _means([replica.shares for replica in one.replicas]),
        alone,
        tuple(sorted({name for replica in one.replicas for name in replica.broken})),
        together=together,
        figures=_figures(one.replicas),
        good=mean("good"),
        good_per_s=mean("good_per_s"),
        segments=_means([replica.segments for replica in one.replicas]),
        warned=tuple(sorted({name for replica in one.replicas for name in replica.warned})),
        layers=one.layers,
    )


def _means(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.mean(rows, axis=0)) if rows[0] else ()


def _figures(replicas: Sequence[Numbers]) -> dict[str, float]:
    names = replicas[0].figures
    return {name: float(np.mean([each.figures[name] for each in replicas])) for name in names}


def _failed(name: str, one: Measured) -> PolicyRow:
    nan = math.nan
    return PolicyRow(
        name, one.tier, nan, nan, nan, nan, (), None, fault=one.fault, layers=one.layers
    )


def _overall(
    all_compared: Sequence[Compared], all_changes: Sequence[Sequence[Change | None]]
) -> tuple[OverallRow, ...]:
    """Return one row per policy that was compared everywhere; names are told apart by the plan."""
    labels = [compared.label for compared in all_compared]
    named = [
        {name: own for (name, _), own in zip(compared.others, changes, strict=True)}
        for compared, changes in zip(all_compared, all_changes, strict=True)
    ]
    common = [name for name in named[0] if all(name in each for each in named)]
    whole = [name for name in common if all(each[name] is not None for each in named)]
    level = joint_level(len(whole))
    rows = (_overall_row(name, [each[name] for each in named], labels, level) for name in common)
    return tuple(sorted(rows, key=lambda row: row.change.estimate if row.change else math.inf))


def _overall_row(
    name: str, changes: Sequence[Change | None], labels: Sequence[str], level: float
) -> OverallRow:
    there = [(own, at) for own, at in zip(changes, labels, strict=True) if own is not None]
    failed = tuple(at for own, at in zip(changes, labels, strict=True) if own is None)
    worst = max(there, key=lambda each: each[0].estimate, default=None)
    over = None if failed else mean_change([own for own, _ in there])
    return OverallRow(
        name,
        over.interval(LEVEL) if over else None,
        over.interval(level) if over else None,
        worst[0].estimate if worst else math.nan,
        worst[1] if worst else "",
        failed,
    )
