"""``gnomon traces``: what a trace store holds."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ._common import Exit, console, emit, folded, handled

if TYPE_CHECKING:
    from ..recorder.summary import HookSummary


def register(app: typer.Typer) -> None:
    """Add ``traces`` to the command line."""
    app.command("traces")(handled(traces))


def traces(
    store: Annotated[str, typer.Argument(help="Trace store: a folder or a URI.")] = (
        ".gnomon/traces"
    ),
    hook: Annotated[str | None, typer.Option(help="Only this hook.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Show what a trace store holds: decisions, outcomes, shares, latencies, damage.

    Exit codes: 0 all of it can be read, 1 some of it is damaged or from the future, 2 bad input.
    """
    from ..recorder.store import TraceStore
    from ..recorder.summary import summarise

    opened = TraceStore(store)
    known = opened.hooks()
    summaries = [summarise(opened, name) for name in ([hook] if hook else known)]
    data = {"store": opened.files.root, "hooks": [asdict(each) for each in summaries]}
    emit(data, as_json, lambda: _show(opened.files.root, summaries))
    if any(summary.damaged for summary in summaries):
        raise typer.Exit(int(Exit.NEGATIVE))


def _show(root: str, summaries: list[HookSummary]) -> None:
    from rich.table import Table

    out = console()
    if not summaries:
        out.print(f"{root} holds no hooks yet")
    for summary in summaries:
        table = Table(title=summary.hook, show_header=False, title_justify="left")
        for name, value in _lines(summary):
            table.add_row(name, value)
        out.print(folded(table))


def _lines(of: HookSummary) -> list[tuple[str, str]]:
    lines = [
        ("kind", ", ".join(of.kinds)),
        ("decisions", f"{of.decisions} by {of.processes} process(es), {of.rate:.1f}/s"),
        ("from", _time(of.first)),
        ("to", _time(of.last)),
        ("arms", _counted(of.arms)),
        ("reasons", _counted(of.reasons)),
        ("recorded because", _counted(of.inclusions)),
        ("outcomes", f"{of.matched} matched, {of.missing} missing, {of.open} open"),
        ("", f"{of.late} came late, {of.orphans} of them without a decision"),
        ("failures", str(of.failures)),
        ("share per item", ", ".join(f"{k}: {share:.1%}" for k, share in of.shares.items())),
    ]
    for name, q in of.metrics.items():
        lines.append((name, f"p50 {q.p50:.4g}, p90 {q.p90:.4g}, p99 {q.p99:.4g}"))
    lines += [
        ("workload events", _counted(of.workload) or "none"),
        ("size", f"{of.bytes} bytes in {of.files} files, {of.bytes_per_decision:.1f} a decision"),
    ]
    if of.duplicates:
        lines.append(("duplicates", f"{of.duplicates} left out"))
    return lines + [("damaged", line) for line in of.damaged]


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def _time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(" ", "milliseconds")
