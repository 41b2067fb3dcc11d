"""``gnomon replay``: recorded traces under other policies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..sdk.errors import ConfigurationError
from . import _complete, _trace
from ._common import Exit, emit, fail, handled, shown, stoppable

if TYPE_CHECKING:
    from ..shadow.replay.compare import ReplayTable

_CODES = {
    "ok": Exit.OK,
    "beyond tolerance": Exit.NEGATIVE,
    "inconclusive": Exit.INCONCLUSIVE,
    "nothing recorded": Exit.OK,
}
#: The answer of several traces is the first of these that any of them gives.
_WORST = ("beyond tolerance", "inconclusive", "ok", "nothing recorded")


def register(app: typer.Typer) -> None:
    """Add ``replay`` to the command line."""
    app.command(
        "replay",
        epilog="Exit codes: fidelity 0 ok · 1 beyond tolerance · 3 inconclusive, interrupted",
    )(handled(replay))


Stores = Annotated[
    list[str],
    typer.Argument(help="Trace store, folder or URI, or a saved trace; several are compared."),
]
Hooks = Annotated[
    list[str] | None,
    typer.Option(
        "--hook",
        help="Its name, or module:attribute of the function; repeat for several.",
        autocompletion=_complete.hooks,
    ),
]
Policies = Annotated[
    list[str] | None,
    typer.Option(
        help="File, baseline:NAME or found:NAME; repeat. All baselines if none.",
        autocompletion=_complete.policies,
    ),
]
Sizes = Annotated[
    str | None, typer.Option(help="Of a cache, as shares of its working set: 0.1%,1%,10%.")
]
Levels = Annotated[
    list[str] | None,
    typer.Option(help="VALUE or METRIC=VALUE that a good decision stays within; repeat."),
]


def replay(
    store: Stores = [_trace.DEFAULT_TRACES],  # noqa: B006 - typer reads it, nobody writes it
    hook: Hooks = None,
    policy: Policies = None,
    incumbent: _trace.Incumbent = None,
    invariants: _trace.Invariants = None,
    replicas: Annotated[int, typer.Option(min=2, help="Replays per policy.")] = 20,
    seed: _trace.Seed = 0,
    sizes: Sizes = None,
    slo: Levels = None,
    workers: Annotated[
        int,
        typer.Option(
            help="Processes that replay; same result. Of 1, Ctrl-C waits for the replay at hand."
        ),
    ] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder of the run, for --resume.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    plot: Annotated[Path | None, typer.Option(help="File of the plot: .svg or .png.")] = None,
    isolation: _trace.Isolation = "strict",
    traces: _trace.Again = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Replay traces: how faithful the simulator is, and what other policies would have done."""
    from .. import api

    if plot is not None:
        from ..shadow.report.replays import require_plot

        require_plot(plot)
    shares = _shares(sizes)
    try:
        with stoppable():
            table = api.replay(
                _stores(store, traces),
                policy or (),
                hook=hook,
                incumbent=incumbent,
                invariants=invariants,
                replicas=replicas,
                seed=seed,
                isolation=isolation,
                sizes=shares,
                slo=slo or (),
                workers=workers,
                out=out,
                resume=resume,
                progress=_progress,
            )
    except KeyboardInterrupt:
        kept = f"what is finished is kept in {out}, --resume goes on" if out else "nothing is kept"
        fail(f"interrupted; {kept}", Exit.INCONCLUSIVE)
    if plot is not None:
        table.plot(plot)
    emit(table.as_json(), as_json, shown(table))
    raise typer.Exit(int(_code(table)))


def _stores(arguments: list[str], option: str | None) -> list[str]:
    if len(arguments) > 1 and option is not None:
        raise ConfigurationError(
            f"{len(arguments)} stores and --traces {option}; name them all in one way"
        )
    if len(arguments) > 1:
        return arguments
    return [_trace.store_of(arguments[0], option)]


def _shares(text: str | None) -> list[float]:
    """Return shares from ``0.1%,1%,10%``; raises ConfigurationError for anything else."""
    shares = []
    for part in (text or "").split(",") if text is not None else ():
        number = part.strip()
        try:
            shares.append(float(number.removesuffix("%")) / (100.0 if "%" in number else 1.0))
        except ValueError as error:
            raise ConfigurationError(
                f"--sizes {text!r}: {number!r} is no share; write 0.1%,1%,10%"
            ) from error
    return shares


def _code(table: ReplayTable) -> Exit:
    answers = {each.fidelity.answer for each in table.tables}
    return _CODES[next(answer for answer in _WORST if answer in answers)]


def _progress(line: str) -> None:
    print(line, file=sys.stderr)
