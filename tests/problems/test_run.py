"""What a search of a problem folder leaves: result, best program, report."""

from __future__ import annotations

import json
from pathlib import Path

from gnomon.shadow.problems.folder import Problem
from gnomon.shadow.problems.run import search
from gnomon.shadow.report.runs import story
from gnomon.shadow.search.driver import Options
from gnomon.shadow.search.records import Budget

from .conftest import FOLDERS


def test_a_search_leaves_a_report_that_says_what_cannot_be_guaranteed(tmp_path: Path) -> None:
    result = search(Problem.read(FOLDERS / "valley"), Options(budget=Budget(3)), tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Search of valley" in page
    assert "Higher is better there; below, scores are negated" in page
    assert "can be neither verified nor shipped" in page
    told = json.loads((tmp_path / "result.json").read_text())
    assert told["log_hash"] == result.log_hash

    shown = story(tmp_path)
    assert "the evaluator's scores are negated here: lower is better" in str(shown)
    assert shown.result.log_hash == result.log_hash
    assert shown.run.best is not None
    assert result.initial is not None
    assert shown.run.best.score <= -result.initial.score
