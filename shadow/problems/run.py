"""From a problem folder to a finished search."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..report.searches import write_report
from ..search.authors.writers import Authors
from ..search.driver import Options, evolve
from ..search.log import proposals
from ..search.progress import Report
from ..search.results.runs import load
from .engine import ProblemEngine, ProblemOptions
from .folder import Problem
from .result import WARNING, ProblemResult, result_of
from .space import ProblemSpace


def search(
    problem: Problem,
    options: Options,
    out: Path,
    *,
    engine: ProblemOptions | None = None,
    progress: Report = lambda _: None,
    authors: Authors | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> ProblemResult:
    """Search a problem folder and leave ``log.jsonl``, ``result.json``, ``report.html`` and ``best_program.py`` in another.

    Args:
        problem: what to search.
        options: budget, seed and strategy; ``start`` and ``incumbent`` mean nothing here, and the subject is
            filled in.
        out: folder of the run.
        engine: how programs are evaluated; None takes workers and seed from ``options``.
        progress, authors, stop: as of :func:`~gnomon.shadow.search.driver.evolve`.

    Raises:
        ConfigurationError: the evaluator does not work on the initial program, a setting is wrong, or another
            run has the folder.
        SearchError, TraceError: as of :func:`~gnomon.shadow.search.driver.evolve`.
    """
    how = engine or ProblemOptions(workers=options.parallel, seed=options.seed)
    subject = {
        "problem": problem.digest,
        "repeats": str(how.repeats),
        "evaluation_seed": str(how.seed),
    }
    space = ProblemSpace(problem)
    with ProblemEngine(problem, how) as running:
        found = evolve(
            space,
            running,
            replace(options, subject=subject),
            out,
            progress=progress,
            authors=authors,
            stop=stop,
        )
        short = running.short
    records = list(proposals(out / "log.jsonl"))
    result = replace(result_of(found, records, problem, short), folder=out)
    write(result, out)
    write_report(load(out), found, _lead(result))
    return result


def _lead(result: ProblemResult) -> str:
    """Return what the report says first; its figures show scores as the search counts, lower is better."""
    initial, best = (each.again if each else math.nan for each in (result.initial, result.best))
    said = f"The initial program scores {initial:.6g} when it is evaluated again"
    if result.improved:
        said = f"{said}, the best one {best:.6g}"
    else:
        said = f"{said}, and nothing that was found is better: keep it"
    return (
        f"{said}. Higher is better there; below, scores are negated. Of the evaluator: {WARNING}."
    )


def write(result: ProblemResult, out: Path) -> None:
    """Write ``result.json`` and, if there is a best program, ``best_program.py``; each whole or not at all."""
    text = json.dumps(result.to_json(), indent=2, sort_keys=True) + "\n"
    _replaced(out / "result.json", text)
    if result.best is not None:
        _replaced(out / "best_program.py", result.best.source)


def _replaced(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(text.encode())
    os.replace(temporary, path)
