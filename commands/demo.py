"""``gnomon demo``: the whole loop on live traffic, on one machine."""

from __future__ import annotations

import json
import math
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..sdk.errors import ConfigurationError
from ._common import handled


def register(app: typer.Typer) -> None:
    """Add ``demo`` to the command line."""
    app.command("demo")(handled(demo))


def demo(
    seed: Annotated[int, typer.Option(help="Of traffic, backends and search.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Shorter capture, search, blocks.")
    ] = False,
    null: Annotated[
        bool, typer.Option("--null", help="Equal backends and policies: nothing to promote.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the run; emptied first.")] = Path(
        "build/demo"
    ),
    rate: Annotated[
        float | None, typer.Option(help="Requests per second; the plan's own by default.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON; the story on stderr.")
    ] = False,
) -> None:
    """Record, replay, evolve, verify, ship, canary and roll back on live traffic, all on loopback.

    Exit codes: 0 the good policy was promoted and the wrong one taken back (null run: nothing was
    promoted), 1 something happened that must not, 2 bad input, 3 inconclusive.
    """
    from rich.console import Console

    from ..demo.loop import run
    from ..demo.pages import write_report
    from ..demo.plan import plan_for
    from ..demo.run import write_summary
    from ..demo.screen import Screen

    screen = Screen(Console(stderr=as_json))
    plan = plan_for(seed, quick=quick, null=null)
    plan = plan if rate is None else replace(plan, rate=_positive(rate))
    # Told to end, it takes its processes with it, as after an interrupt.
    before = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        ended, summary = run(plan, out, screen)
    finally:
        signal.signal(signal.SIGTERM, before)
    write_summary(summary, out / "summary.json")
    write_report(summary, out)
    screen.stage(f"Ended: {ended.name.lower()}")
    screen.say(f"report: {out / 'report.html'}")
    screen.say(f"every figure: {out / 'summary.json'}")
    if as_json:
        json.dump(json.loads((out / "summary.json").read_text()), sys.stdout, indent=2)
        print()
    raise typer.Exit(int(ended))


def _positive(rate: float) -> float:
    if not 0.0 < rate < math.inf:
        raise ConfigurationError(f"--rate {rate:g} requests/s; give a number above 0")
    return rate
