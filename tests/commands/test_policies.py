"""``gnomon policies``, and ``found:NAME`` wherever a policy is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import gnomon
from gnomon.policies import found as shelf

from .conftest import HOOK, Folder

SOURCE = "def score(inflight, ewma_ms):\n    return (inflight + 1.0) * ewma_ms\n"


@pytest.fixture
def lean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A policy that was found for load balancers; its name."""
    path = tmp_path / "shelf" / "load_balancer" / "lean.py"
    path.parent.mkdir(parents=True)
    path.write_text(SOURCE)
    path.with_suffix(".json").write_text(json.dumps({"found_by": "gnomon evolve --seed 7"}))
    monkeypatch.setattr(shelf, "ROOT", tmp_path / "shelf")
    return "found:lean"


def test_policies_are_listed_and_printed(folder: Folder, lean: str) -> None:
    table = folder.run("policies", "load_balancer").stdout
    assert "baseline:peak_ewma" in table and "built in" in table
    assert lean in table and "gnomon evolve --seed 7" in table
    listed = json.loads(folder.run("policies", "--json").stdout)
    assert listed == [each.as_json() for each in gnomon.known_policies()]
    assert folder.run("policies", "load_balancer", lean).stdout == SOURCE
    assert "built in" in folder.run("policies", "load_balancer", "power_of_two_choices").stdout
    one = json.loads(folder.run("policies", "load_balancer", "lean", "--json").stdout)
    assert one == gnomon.known_policy("load_balancer", "lean").as_json()


@pytest.mark.parametrize("words", [("nobody",), ("load_balancer", "nobody")])
def test_what_is_not_there_is_bad_input(folder: Folder, words: tuple[str, ...]) -> None:
    done = folder.run("policies", *words)
    assert done.exit_code == 2 and "nobody" in done.stderr


def test_a_found_policy_is_replayed_as_candidate_and_as_incumbent(
    folder: Folder, store: Path, lean: str
) -> None:
    line = ("replay", store, "--hook", HOOK, "--replicas", 2, "--json", "--policy")
    asked = folder.run(*line, lean, "--incumbent", "baseline:least_outstanding")
    trusted = folder.run(*line, "baseline:random", "--incumbent", lean)
    _, candidate = json.loads(asked.stdout)["rows"]
    incumbent, _ = json.loads(trusted.stdout)["rows"]
    assert candidate["policy"] == lean and candidate["tier"] == "out of process"
    assert candidate["layers"], "it runs isolated, as a file does"
    assert incumbent["policy"] == "lean" and incumbent["mean"] == candidate["mean"]


def test_a_found_policy_goes_through_the_gates(store: Path, lean: str, tmp_path: Path) -> None:
    judge: Callable[..., object] = gnomon.verify
    where = {"hook": HOOK, "ledger": tmp_path / "ledger.db", "regressions": None}
    named = judge(lean, store, out=tmp_path / "a.json", **where)
    typed = judge(SOURCE, store, out=tmp_path / "b.json", **where)
    assert named.source == typed.source == SOURCE  # type: ignore[attr-defined]
    with pytest.raises(gnomon.ConfigurationError, match="no policy 'fat' was found for kind"):
        judge("found:fat", store, **where)
