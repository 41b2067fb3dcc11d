"""``gnomon verify``: put a candidate through the gates."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import _trace
from ._common import Exit, console, emit, folded, handled

if TYPE_CHECKING:
    from ..shadow.verdict import GateResult, Verdict

_STYLES = {"passed": "green", "failed": "red", "skipped": "dim"}
_EXITS = {"accepted": Exit.OK, "refused": Exit.NEGATIVE, "inconclusive": Exit.INCONCLUSIVE}


def register(app: typer.Typer) -> None:
    """Add ``verify`` to the command line."""
    app.command("verify")(handled(verify))


def verify(
    policy: Annotated[Path, typer.Argument(help="Source of the candidate.")],
    traces: _trace.Traces = _trace.DEFAULT_TRACES,
    hook: _trace.HookName = None,
    incumbent: _trace.Incumbent = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another policy to predict the effect against: a source or a .bundle; repeatable."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Verdict file; .gnomon/verdicts/DIGEST.json.")
    ] = None,
    ledger: Annotated[Path, typer.Option(help="Ledger that takes the verdict.")] = Path(
        ".gnomon/ledger.db"
    ),
    isolation: _trace.Isolation = "strict",
    seed: _trace.Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Put a candidate through the gates and write the verdict that `gnomon ship` asks for.

    Exit codes: 0 accepted, 1 refused, 2 bad input, 3 inconclusive.
    """
    from .. import api
    from ..shadow.gate_case import VerifyOptions
    from ..shadow.isolation.layers import known_mode
    from ..shadow.policy import source_of

    verdict, path = api.verify(
        source_of(policy),
        traces,
        hook=hook,
        incumbent=incumbent,
        against=against or (),
        ledger=ledger,
        out=out,
        options=VerifyOptions(isolation=known_mode(isolation), seed=seed),
        progress=_said,
    )
    shown = verdict.to_json() | {"digest": verdict.digest, "path": str(path)}
    emit(shown, as_json, lambda: _show(verdict, path))
    raise typer.Exit(int(_EXITS[verdict.decision]))


def _said(result: GateResult) -> None:
    print(f"{result.name}: {result.answer} ({result.seconds:.1f} s)", file=sys.stderr, flush=True)


def _show(verdict: Verdict, path: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("gate", "answer", "why", "seconds")
    for gate in verdict.gates:
        mark = Text(gate.answer, _STYLES.get(gate.answer, "yellow"))
        table.add_row(gate.name, mark, gate.summary, f"{gate.seconds:.1f}")
    out = console()
    out.print(folded(table))
    counterexample = verdict.gates[-1].evidence.get("counterexample")
    if counterexample:
        out.print(folded(_items(counterexample)))
    out.print(verdict.summary)
    out.print(_isolation(verdict))
    out.print(f"Verdict {verdict.digest[:16]} in {path}")


def _isolation(verdict: Verdict) -> str:
    """Return what the candidate ran under; a source outside the language never runs."""
    layers = ", ".join(verdict.layers) or "the candidate was not run"
    return f"Isolation: {verdict.isolation} ({layers})."


def _items(case: dict[str, Any]) -> Any:
    """Return the counterexample's decision as a table."""
    from rich.table import Table

    table = Table("item", *case["inputs"], title=f"counterexample: {case['invariant']}")
    for index, row in enumerate(case["items"]):
        mark = f"{index} picked" if index == case["action"] else str(index)
        table.add_row(mark, *(f"{value:g}" for value in row))
    return table
