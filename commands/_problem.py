"""``gnomon evolve --problem DIR``: search one of OpenEvolve's problem folders."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..sdk.errors import ConfigurationError
from ._common import Exit, emit, shown

if TYPE_CHECKING:
    from ..shadow.search.driver import Options
    from ..shadow.search.progress import Report

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
    options: Options,
    report: Report,
    stop: Callable[[], bool],
    *,
    repeats: int = 1,
    variables: list[str] | None = None,
    as_json: bool = False,
    writers: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Search a folder, print the result and leave with the exit code of ``evolve``."""
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
    result = api.evolve_problem(
        folder, out, options=options, engine=engine, progress=report, stop=stop, **writers
    )
    emit(result.as_json(), as_json, shown(result))
    if result.stopped == "interrupted":
        raise typer.Exit(int(Exit.INCONCLUSIVE))
    raise typer.Exit(int(Exit.OK if result.improved else Exit.NEGATIVE))


def require_alone(given: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuse options that mean nothing for a folder.

    Args:
        given: by option, what it is and what it is when nobody says.
    """
    for option, (value, default) in given.items():
        if value != default:
            raise ConfigurationError(
                f"{option} means nothing with --problem, whose evaluator says what counts; leave it out"
            )
