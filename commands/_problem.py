"""``gnomon evolve --problem DIR``: search one of OpenEvolve's problem folders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..sdk.errors import ConfigurationError
from ._trace import DEFAULT_TRACES

if TYPE_CHECKING:
    from ..shadow.problems.result import ProblemResult
    from ..shadow.search.driver import Options

Folder = Annotated[
    Path | None,
    typer.Option(
        "--problem",
        help="Folder in OpenEvolve's form, instead of a trace: initial_program.py, evaluator.py.",
    ),
]
Repeats = Annotated[
    int, typer.Option(help="With --problem: evaluations of each program; the mean counts.")
]
Variables = Annotated[
    list[str] | None,
    typer.Option("--env", help="With --problem: NAME of a variable that the evaluator gets."),
]


def search(
    folder: Path,
    out: Path | None,
    *,
    repeats: int,
    variables: list[str] | None,
    options: Options,
    **how: Any,
) -> ProblemResult:
    """Search a folder; its best program is for nobody but the caller to judge.

    Args:
        folder: in OpenEvolve's form.
        out: folder of the run.
        repeats: evaluations of each program.
        variables: of the environment that the evaluator gets.
        options: of the search.
        how: progress, stop and writers, as for :func:`gnomon.evolve_problem`.
    """
    from .. import api
    from ..shadow.problems.engine import ProblemOptions
    from ..shadow.problems.folder import Problem
    from ..shadow.problems.result import WARNING

    Problem.read(folder)  # what is no problem needs no warning
    engine = ProblemOptions(
        workers=options.parallel,
        repeats=repeats,
        seed=options.seed,
        variables=tuple(variables or ()),
    )
    print(f"gnomon: warning: {WARNING}", file=sys.stderr, flush=True)
    return api.evolve_problem(folder, out, options=options, engine=engine, **how)


def require_alone(
    traces: str,
    hook: str | None,
    incumbent: str | None,
    invariants: Path | None,
    start: str,
    isolation: str,
) -> None:
    """Refuse options that mean nothing for a folder; raises ConfigurationError with the first of them."""
    given = {
        "--traces": (traces, DEFAULT_TRACES),
        "--hook": (hook, None),
        "--incumbent": (incumbent, None),
        "--invariants": (invariants, None),
        "--start": (start, "library"),
        "--isolation": (isolation, "strict"),
    }
    for option, (value, default) in given.items():
        if value != default:
            raise ConfigurationError(
                f"{option} means nothing with --problem, whose evaluator says what counts; leave it out"
            )
