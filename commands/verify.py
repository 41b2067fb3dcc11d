"""``gnomon verify``: put a candidate through the gates."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..api import LEDGER
from . import _trace
from ._common import Exit, emit, handled, shown

if TYPE_CHECKING:
    from ..shadow.gates.verdict import GateResult

_EXITS = {"accepted": Exit.OK, "refused": Exit.NEGATIVE, "inconclusive": Exit.INCONCLUSIVE}


def register(app: typer.Typer) -> None:
    """Add ``verify`` to the command line."""
    app.command("verify")(handled(verify))


def verify(
    policy: Annotated[Path, typer.Argument(help="Source of the candidate, or found:NAME.")],
    traces: _trace.Traces = _trace.DEFAULT_TRACES,
    hook: _trace.HookName = None,
    incumbent: _trace.Incumbent = None,
    invariants: _trace.Invariants = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another policy to predict the effect against: a source or a .bundle; repeatable."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Verdict file; .gnomon/verdicts/DIGEST.json.")
    ] = None,
    ledger: Annotated[Path, typer.Option(help="Ledger that takes the verdict.")] = LEDGER,
    regressions: Annotated[
        str, typer.Option(help="Folder of decisions that are asked first and added to; or none.")
    ] = ".gnomon/regressions",
    isolation: _trace.Isolation = "strict",
    seed: _trace.Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Put a candidate through the gates and write the verdict that `gnomon ship` asks for.

    Exit codes: 0 accepted, 1 refused, 2 bad input, 3 inconclusive.
    """
    from .. import api
    from ..sdk.isolation.layers import known_mode
    from ..shadow.gates.case import VerifyOptions

    verdict = api.verify(
        policy,
        traces,
        hook=hook,
        incumbent=incumbent,
        invariants=invariants,
        against=against or (),
        ledger=ledger,
        out=out,
        regressions=None if regressions == "none" else regressions,
        options=VerifyOptions(isolation=known_mode(isolation), seed=seed),
        progress=_said,
    )
    emit(verdict.as_json(), as_json, shown(verdict))
    raise typer.Exit(int(_EXITS[verdict.decision]))


def _said(result: GateResult) -> None:
    print(f"{result.name}: {result.answer} ({result.seconds:.1f} s)", file=sys.stderr, flush=True)
