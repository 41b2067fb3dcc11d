"""``gnomon replay``: a recorded trace under other policies."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import _trace
from ._common import Exit, console, emit, folded, handled

if TYPE_CHECKING:
    from ..shadow.replay import PolicyRow, ReplayTable

_CODES = {
    "ok": Exit.OK,
    "beyond tolerance": Exit.NEGATIVE,
    "inconclusive": Exit.INCONCLUSIVE,
    "nothing recorded": Exit.OK,
}


def register(app: typer.Typer) -> None:
    """Add ``replay`` to the command line."""
    app.command("replay", epilog="Exit codes: fidelity 0 ok · 1 beyond tolerance · 3 inconclusive")(
        handled(replay)
    )


def replay(
    store: Annotated[str, typer.Argument(help=_trace.TRACES_HELP)] = _trace.DEFAULT_TRACES,
    hook: _trace.HookName = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="File or baseline:NAME; repeat. All baselines if none.")
    ] = None,
    incumbent: _trace.Incumbent = None,
    replicas: Annotated[int, typer.Option(min=2, help="Replays per policy.")] = 20,
    seed: _trace.Seed = 0,
    isolation: _trace.Isolation = "strict",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Replay a trace: how faithful the simulator is, and what other policies would have done."""
    from .. import api

    table = api.replay(
        store,
        policy or (),
        hook=hook,
        incumbent=incumbent,
        replicas=replicas,
        seed=seed,
        isolation=isolation,
        progress=_progress,
    )
    emit(table.as_json(), as_json, lambda: _show(table))
    raise typer.Exit(int(_CODES[table.fidelity.answer]))


def _progress(line: str) -> None:
    print(line, file=sys.stderr)


def _show(table: ReplayTable) -> None:
    out = console()
    out.print(f"{table.decisions} decisions of {table.hook} over {', '.join(table.members)}")
    out.print(folded(_fidelity(table)))
    out.print(f"fidelity: {table.fidelity.answer}")
    out.print(folded(_comparison(table)))


def _fidelity(table: ReplayTable) -> Any:
    from rich.table import Table

    shown = Table(title=f"{table.fidelity.policy}, recorded and simulated", title_justify="left")
    for name in ("metric", "stretch", "recorded", "simulated", "error (95 %)", "answer"):
        left = name in ("metric", "stretch")
        shown.add_column(name, justify="left" if left else "right")
    for row in table.fidelity.rows:
        shown.add_row(
            row.metric,
            row.stretch,
            f"{row.recorded:.4g}",
            f"{row.simulated:.4g}",
            f"{row.error:+.1%} ({row.low:+.0%} … {row.high:+.0%})",
            row.answer,
        )
    return shown


def _comparison(table: ReplayTable) -> Any:
    from rich.table import Table

    limit = f"; no policy can have a mean below {table.bound:.4g}" if table.bound > 0 else ""
    shown = Table(
        title=f"{table.replicas} replays each, in {table.unit}{limit}", title_justify="left"
    )
    for name in ("policy", "tier", "mean", "p50", "p99", "failed", "change of the mean"):
        left = name in ("policy", "tier")
        shown.add_column(name, justify="left" if left else "right")
    for row in table.rows:
        shown.add_row(row.policy, row.tier, *_numbers(row))
    return shown


def _numbers(row: PolicyRow) -> tuple[str, ...]:
    if row.fault:
        return ("–", "–", "–", "–", row.fault)
    change = (
        f"{row.change.estimate:+.1%} ({row.change.low:+.0%} … {row.change.high:+.0%})"
        if row.change
        else "incumbent"
    )
    if row.broken:
        change += f", breaks {', '.join(row.broken)}"
    return (
        f"{row.mean:.2f}",
        f"{row.p50:.2f}",
        f"{row.p99:.2f}",
        f"{row.failure_rate:.2%}",
        change,
    )
