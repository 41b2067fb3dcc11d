"""The openevolve package is the oracle: the same folders, the same model, the same scores, program by program."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gnomon.shadow.evaluation import Evaluation, Status
from gnomon.shadow.models.ensemble import ensemble
from gnomon.shadow.models.options import Model, ModelOptions
from gnomon.shadow.problems.engine import ProblemEngine
from gnomon.shadow.problems.folder import Problem
from gnomon.shadow.problems.run import search
from gnomon.shadow.problems.statement import statement_of
from gnomon.shadow.search.authors.prompts.builder import Prompts
from gnomon.shadow.search.authors.prompts.templates import load
from gnomon.shadow.search.driver import Options
from gnomon.shadow.search.log import proposals
from gnomon.shadow.search.records import KEYLESS, Budget, Outcome, Record
from gnomon.shadow.search.strategies import keyless

from ..models.server import Say, Server
from .conftest import FOLDERS

SCRIPT = Path(__file__).with_name("package.py")
ITERATIONS = 5
#: Changes of the initial program, by folder: what the model answers, and what else is tried.
CHANGES = {
    "valley": (
        ("steps=60", "steps=90"),
        ("reach = 1.5", "reach = 2.5"),
        ("best[0] + 0.1", "best[0] + 0.5"),
        ("return best[1], best[2]", "return float('nan'), 0.0"),
        ("reach * 0.97", "reach / 0"),
    ),
    "packing": (
        ("WEIGHT_OF_FIT = 1.0", "WEIGHT_OF_FIT = -1.0"),
        ("WEIGHT_OF_ORDER = 0.5", "WEIGHT_OF_ORDER = 0.25"),
        ("LEAST_ROOM = 0", "LEAST_ROOM = 44"),
        ("MOST_BINS = 1000", "MOST_BINS = 8"),
        ("LEAST_ROOM = 0", "LEAST_ROOM = 10"),
        ("LEAST_ROOM = 0", "LEAST_ROOM = -50"),
        ("MOST_BINS = 1000", "MOST_BINS = 'a'"),
    ),
    "words": (
        ("least = 2", "least = 1"),
        ('marks = ".,;"', 'marks = ".,;!?"'),
        ("word[:6]", "word.rstrip('s')"),
        ("word[:6]", "word[:-1] + 'y'"),
        ("word[:6]", "word.nothing"),
    ),
}


def changed(name: str) -> list[str]:
    program = (FOLDERS / name / "initial_program.py").read_text()
    for old, _ in CHANGES[name]:
        assert old in program
    return [program.replace(old, new) for old, new in CHANGES[name]]


def answers(name: str) -> list[str]:
    """Return what the model says: changes for one folder, whole programs for the others."""
    if name == "packing":
        forms = "<<<<<<< SEARCH\n{}\n=======\n{}\n>>>>>>> REPLACE"
        return [forms.format(old, new) for old, new in CHANGES[name]]
    return [f"Here it is.\n```python\n{source}```\n" for source in changed(name)]


@pytest.fixture
def served() -> Iterator[Callable[[str], Server]]:
    servers: list[Server] = []

    def serve(name: str) -> Server:
        texts = answers(name)
        servers.append(Server(lambda _body, count: Say(texts[count % len(texts)])))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def package(problem: Problem, tmp_path: Path, base: str, sources: list[str]) -> dict[str, Any]:
    """Return what the package's own run found, and what its evaluator says of sources."""
    if importlib.util.find_spec("openevolve") is None:
        pytest.skip("the openevolve package, which is the oracle, is not installed")
    out = tmp_path / "package.json"
    asked = {
        "folder": str(problem.folder),
        "base": base,
        "iterations": ITERATIONS,
        "diffs": problem.name == "packing",
        "sources": sources,
        "out": str(out),
    }
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def searched(problem: Problem, server: Server, out: Path) -> list[Record]:
    """Search with the served model; return the records."""
    models = ModelOptions((Model("openai-compatible:stub", base=server.base),), share=0.9)
    prompts = Prompts(load(), statement_of(problem))
    with ensemble(models, prompts, keyless()) as authors:
        search(problem, Options(budget=Budget(10), finalists=1), out, authors=authors)
    return list(proposals(out / "log.jsonl"))


def agree(found: Evaluation, theirs: dict[str, Any]) -> None:
    """Hold one evaluation to the package's: scores where there is one, and the same failures."""
    if found.status in (Status.OK, Status.STOPPED):
        assert dict(found.metrics) == theirs["metrics"]
    if found.status is Status.OK:
        assert -found.score == theirs["fitness"]
        return
    failed = [name for name in theirs["metrics"] if name == "error" or name.endswith("_passed")]
    late = dict(found.metrics)
    assert found.status is Status.STOPPED or failed
    assert not late or late == theirs["metrics"]


@pytest.mark.parametrize("name", CHANGES)
def test_the_package_and_we_score_alike(
    name: str, stock: Callable[[str], Problem], served: Callable[[str], Server], tmp_path: Path
) -> None:
    problem = stock(name)
    records = searched(problem, served(name), tmp_path / "run")
    written = [r for r in records if r.author != KEYLESS]
    assert [r for r in written if r.outcome is Outcome.OK], "the model's programs are evaluated"
    ours = [r for r in records if r.outcome in (Outcome.OK, Outcome.STOPPED)]
    sources = changed(name) + [r.source for r in ours]
    theirs = package(problem, tmp_path, served(name).base, sources)
    assert len(theirs["run"]) > 2, "the package's own run finds programs, too"
    with ProblemEngine(problem) as engine:
        told = [*theirs["evaluated"], *theirs["run"]]
        flying = [engine.submit(each["source"], "train") for each in told]
        for future, each in zip(flying, told, strict=True):
            agree(future.result(), each)
    for record, each in zip(ours, theirs["evaluated"][len(changed(name)) :], strict=True):
        assert dict(record.metrics) == each["metrics"]
        assert record.outcome is Outcome.STOPPED or -record.score == each["fitness"]


def test_the_stages_of_the_changes_are_all_ends_there_are(
    stock: Callable[[str], Problem],
) -> None:
    """Were all of them the same, the test above would hold little."""
    with ProblemEngine(stock("packing")) as engine:
        ends = [engine.submit(each, "train").result() for each in changed("packing")]
    scored = [tuple(dict(each.metrics)) for each in ends if each.status is Status.OK]
    assert {("small" in names, "large" in names) for names in scored} == {
        (False, False),
        (True, False),
        (True, True),
    }
    failed = [dict(each.metrics) for each in ends if each.status is Status.FAULT]
    assert {"stage2_passed" in metrics for metrics in failed} == {True, False}
