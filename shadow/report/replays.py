"""What a comparison of policies shows: tables, one plot, one page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...sdk.errors import ConfigurationError
from .shown import Part, Table, percent

if TYPE_CHECKING:
    from ..fidelity import Fidelity
    from ..replay.table import OverallRow, PolicyRow, ReplayTable
    from ..splits import Interval

PLOTS = (".svg", ".png")
#: Means from here on are shown with two places, lower ones with four.
_LARGE = 10.0
#: Limits of intervals from here on are shown in whole per cent, so that a small one is never a bare 0.
_COARSE = 0.1


def parts(table: ReplayTable) -> tuple[Part, ...]:
    """Return what is shown: what is said over all, then every table, fidelity first."""
    shown = [part for each in table.tables for part in _one(each, bool(table.further))]
    return (*((_overall(table),) if table.overall else ()), *shown)


def _one(table: ReplayTable, named: bool) -> tuple[Part, ...]:
    over = f" over {', '.join(table.members)}" if table.members else ""
    which = f"{table.label}: " if named else ""
    return (
        f"{which}{table.decisions} decisions of {table.hook}{over}",
        *((_fidelity(table.fidelity, table.digits),) if table.fidelity.rows else ()),
        f"fidelity: {table.fidelity.answer}",
        _comparison(table),
        *_refused(table.rows),
    )


def _fidelity(found: Fidelity, digits: int) -> Table:
    return Table(
        ("metric", "stretch", "recorded", "simulated", "error (95 %)", "answer"),
        tuple(
            (
                row.metric,
                row.stretch,
                f"{row.recorded:.{digits}g}",
                f"{row.simulated:.{digits}g}",
                f"{row.error:+.1%} ({row.low:+.0%} … {row.high:+.0%})",
                row.answer,
            )
            for row in found.rows
        ),
        f"{found.policy}, recorded and simulated",
    )


def _comparison(table: ReplayTable) -> Table:
    figures = list(dict.fromkeys(name for row in table.rows for name in row.figures))
    good = ("good", "good/s") if table.slos else ()
    head = ("policy", "tier", *table.statistics, "failed", *good, *figures)
    rows = tuple(
        (row.policy, row.tier, *_cells(row, table, figures), _change(row), _sure(row.together))
        for row in table.rows
    )
    return Table((*head, "change of the mean", "all at once"), rows, _said(table))


def _said(table: ReplayTable) -> str:
    """Say what the numbers are of, and what holds of the intervals."""
    compared = sum(row.change is not None for row in table.rows)
    bound = f"no policy can have a mean below {table.bound:.{table.digits}g}"
    said = [
        f"{table.replicas} replays each{'' if table.unit == '1' else f', in {table.unit}'}",
        bound if math.isfinite(table.bound) else "no bound",
    ]
    if table.slos:
        said.append(f"good: ok with {', '.join(table.slos)} or less")
    if compared:
        said.append(
            f"changes against {table.rows[0].policy}, paired over blocks of time, 95 % each; all at "
            f"once: 95 % for the {compared} together"
        )
    return "; ".join(said)


def _cells(row: PolicyRow, table: ReplayTable, figures: Sequence[str]) -> tuple[str, ...]:
    width = len(table.statistics) + 1 + 2 * bool(table.slos) + len(figures)
    if row.fault:
        return ("–",) * width
    places = 6 if table.digits == 6 else 2 if table.rows[0].mean >= _LARGE else 4
    values = (f"{getattr(row, name):.{places}f}" for name in table.statistics)
    good = (f"{row.good:.2%}", f"{row.good_per_s:.4g}") if table.slos else ()
    more = (f"{row.figures.get(name, math.nan):.4g}" for name in figures)
    return (*values, f"{row.failure_rate:.2%}", *good, *more)


def _change(row: PolicyRow) -> str:
    if row.fault:
        return row.fault
    change = _interval(row.change) if row.change else "incumbent"
    told = (("breaks", row.broken), ("warned by", row.warned))
    return ", ".join([change, *(f"{verb} {', '.join(names)}" for verb, names in told if names)])


def _interval(change: Interval) -> str:
    if math.isfinite(change.estimate) and change.low <= -1.0 and math.isinf(change.high):
        return f"{percent(change.estimate)} (open: too few blocks)"
    low, high = (percent(end, 0 if abs(end) >= _COARSE else 1) for end in (change.low, change.high))
    return f"{percent(change.estimate)} ({low} … {high})"


def _sure(together: Interval | None) -> str:
    """Say on which side of no change an interval lies."""
    if together is None:
        return "–"
    if together.high < 0.0:
        return "better"
    if together.low == together.high == 0.0:
        return "equal"
    return "worse" if together.low > 0.0 else "open"


def _refused(rows: Sequence[PolicyRow]) -> tuple[str, ...]:
    """Say what verification makes of what the table says breaks."""
    broken = sorted({name for row in rows for name in row.broken})
    if not broken:
        return ()
    return (f"gnomon verify refuses a policy that breaks {', '.join(broken)} over a replay.",)


def _overall(table: ReplayTable) -> Table:
    rows = tuple(_overall_cells(row) for row in table.overall)
    title = (
        f"over {len(table.tables)} traces and sizes: mean of the changes against each one's "
        "incumbent, 95 % each; all at once: 95 % for all policies together"
    )
    return Table(("policy", "mean change", "all at once", "worst", "on"), rows, title)


def _overall_cells(row: OverallRow) -> tuple[str, ...]:
    failed = f"failed on {', '.join(row.failed_on)}"
    change = _interval(row.change) if row.change else failed
    worst = percent(row.worst) if row.worst_on else "–"
    return (row.policy, change, _sure(row.together), worst, row.worst_on or "–")


def write_plot(table: ReplayTable, path: Path) -> None:
    """Write the plot; raises ConfigurationError for a name that ends in neither .svg nor .png."""
    from .plots import changes_plot

    require_plot(path)
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    changes_plot(_series(table)).savefig(partial)
    partial.replace(path)


def require_plot(path: Path) -> None:
    """Refuse a name that is no plot's; raises ConfigurationError."""
    if path.suffix not in PLOTS:
        raise ConfigurationError(f"{path} is no plot; end its name in .svg or .png")


def _series(table: ReplayTable) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Return the changes that are numbers: by table, by policy: estimate, low, high."""
    found = {}
    for each in table.tables:
        changes = {row.policy: row.change for row in each.rows if row.change is not None}
        found[each.label or each.hook] = {
            name: (change.estimate, change.low, change.high)
            for name, change in changes.items()
            if all(map(math.isfinite, (change.estimate, change.low, change.high)))
        }
    return found


def write_report(table: ReplayTable, path: Path) -> None:
    """Write tables and plot as one HTML file."""
    from .page import Section, write
    from .plots import changes_plot, svg_of

    plot = svg_of(changes_plot(_series(table)))
    sections = [Section("Changes against the incumbent", figure=plot)]
    if table.overall:
        sections.append(Section("Over all", table=_overall(table)))
    for each in table.tables:
        lines = tuple(part for part in _one(each, named=False) if isinstance(part, str))
        if each.fidelity.rows:
            sections.append(
                Section(f"Fidelity, {each.label}", table=_fidelity(each.fidelity, each.digits))
            )
        comparison = _comparison(each)
        sections.append(Section(f"Policies, {each.label}", (*lines, comparison.title), comparison))
    names = ", ".join(dict.fromkeys(each.hook for each in table.tables))
    write(path, f"Replay of {names}", f"Policies of kind {table.kind}, compared.", sections)
