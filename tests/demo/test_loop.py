"""The whole loop on live traffic, small: real processes, real wire, real gates."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gnomon.demo.loop import run
from gnomon.demo.pages import write_report
from gnomon.demo.plan import plan_for
from gnomon.demo.run import DemoExit, write_summary
from gnomon.demo.screen import Screen
from gnomon.sdk.errors import ConfigurationError

pytestmark = pytest.mark.long

SMALL = {
    "rate": 60.0,
    "capture_s": 15.0,
    "budget": 12,
    "block_s": 0.8,
    "burn_in_s": 0.15,
    "min_pairs": 6,
    "max_pairs": 10,
    "shadow_decisions": 60,
    "soak_s": 1.0,
    "settle_s": 1.0,
}


@pytest.mark.timeout(900)
def test_the_loop_ends_well_or_undecided_and_never_badly(tmp_path: Path) -> None:
    """So small a run may be too noisy for a verdict, but users must never notice."""
    text = io.StringIO()
    plan = replace(plan_for(7, quick=True), **SMALL)
    ended, summary = run(plan, tmp_path / "demo", Screen(Console(file=text, width=120)))
    story = text.getvalue()
    assert ended in (DemoExit.GOOD, DemoExit.INCONCLUSIVE), story
    captured = summary["capture"]
    assert captured["decisions"] == captured["requests"]["requests"], story
    faults = {name: summary["traffic"][name] for name in ("non_2xx", "resets", "timeouts")}
    assert faults == {"non_2xx": 0, "resets": 0, "timeouts": 0}, story
    assert all(ledger["ok"] for ledger in summary["ledgers"].values()), story
    if "refused" in summary:
        assert set(summary["refused"].values()) == {"refused"}, story
    write_summary(summary, tmp_path / "demo" / "summary.json")
    assert (
        json.loads((tmp_path / "demo" / "summary.json").read_text())["ended"] == ended.name.lower()
    )
    page = write_report(summary, tmp_path / "demo").read_text()
    assert "What users felt" in page


def test_a_folder_of_somebody_s_is_never_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigurationError, match="choose another --out"):
        run(plan_for(0), tmp_path, Screen(Console(file=io.StringIO())))
    assert (tmp_path / "thesis.tex").exists()
