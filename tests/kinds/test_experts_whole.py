"""Ranks of a model are recorded, and a placement searched on their load goes through the canary into them, and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError

from .stage import Stage, ended, stage, until

pytestmark = pytest.mark.long

HOOK = "moe.rebalance"
EXAMPLE = Path(__file__).parents[2] / "examples" / "expert_rebalancer.py"
RANKS = 4
#: Of either half, 100 decisions; of the holdout, 16 blocks of 0.2 s.
RECORDED = 260
RAMP = (
    "--block", "600ms", "--burn-in", "70ms", "--skew", "20ms", "--soak", "1s", "--lease", "5s",
    "--min-pairs", 6, "--max-pairs", 60, "--shadow-decisions", 20, "--shadow-rate", 1.0,
)  # fmt: skip


class Ranks:
    """Recorder, control plane and the ranks as processes of their own."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        found, self.publisher, self.address = stage.deployed()
        self.there = ("--control-plane", self.address)
        self.store = stage.folder / "traces"
        found |= {"WINDOW_S": "0.05", "OTEL_SERVICE_NAME": "ranks"}
        self.service = stage.start("service", EXAMPLE, **found)

    def decisions(self) -> list[dict[str, Any]]:
        """Return what was recorded so far, in order of time."""
        with suppress(TraceError):  # there is no store before the first records
            rows: list[dict[str, Any]] = TraceStore(self.store).decisions(HOOK).to_pylist()
            return rows
        return []

    def recorded(self) -> bool:
        """Return whether enough decisions are stored."""
        assert self.service.poll() is None, (self.stage.folder / "service.log").read_text()
        return len(self.decisions()) > RECORDED

    def deciding(self) -> str:
        """Return the policy of the last decision that was recorded."""
        return str(self.decisions()[-1]["policy"])


@pytest.fixture
def ranks(tmp_path: Path) -> Iterator[Ranks]:
    with stage(tmp_path) as empty:
        yield Ranks(empty)


@pytest.mark.timeout(1800)
def test_placements_go_from_recorded_load_to_stable_and_back(ranks: Ranks) -> None:
    run = ranks.stage.run
    until(ranks.recorded, "recording")
    (recorded,) = run("traces", ranks.store)["hooks"]
    assert recorded["kinds"] == ["expert_placement/1"]
    assert recorded["workload"]["load"] >= 0.95 * recorded["decisions"]

    frozen, out = ranks.stage.frozen(ranks.store, "load"), ranks.stage.folder / "run"
    found = run("evolve", "--traces", frozen, "--budget", 6, "--seed", 1, "--out", out)
    assert found["winner"]["validation"] < 0.9 * found["incumbent"]["validation"]
    verdict = run("verify", out / "best.py", "--traces", frozen)
    assert verdict["decision"] == "accepted", verdict["summary"]
    assert {gate["answer"] for gate in verdict["gates"]} == {"passed"}
    assert verdict["form"] == "program"

    key = ("--verdict", verdict["path"], "--key", f"{ranks.publisher}.pem")
    made = run("ship", out / "best.py", *key, *ranks.there, *RAMP)
    last = ranks.stage.followed(ranks.address)[-1]
    causes = [step["cause"] for step in last["transitions"]]
    steps = [step["to"] for step in last["transitions"]]
    assert steps == ["SHADOW", "CANARY", "FULL", "STABLE"], causes
    assert last["evidence"]["effect"]["high"] < 0.0
    assert (last["evidence"]["shadow_faults"], last["evidence"]["shadow_violations"]) == (0, 0)

    digest = made["candidate"]
    until(lambda: ranks.deciding() == digest, "the policy to decide")
    killed = run("rollout", "kill", "--reason", "end of the test", *ranks.there)
    assert killed["state"] == "ABORTED"
    until(lambda: ranks.deciding() == "incumbent", "the ranks' own function to decide")
    assert ended(ranks.service) == 0
    assert "Traceback" not in (ranks.stage.folder / "service.log").read_text()
    canaried(ranks.decisions(), digest)
    assert run("audit", "verify", *ranks.there)["ok"]


def canaried(decisions: list[dict[str, Any]], digest: str) -> None:
    """Check in what was recorded that whole blocks took turns, and that the candidate was better."""
    split = [row for row in decisions if row["reason"] == "split"]
    arms: dict[int, set[str]] = {}
    worst: dict[str, list[float]] = {"incumbent": [], digest: []}
    for row in split:
        arms.setdefault(row["block"], set()).add(row["policy"])
        worst[row["policy"]] += [dict(row["values"])["imbalance"]] if row["values"] else []
    assert all(len(policies) == 1 for policies in arms.values())
    pairs = [(a, b) for a, b in pairwise(sorted(arms)) if a % 2 == 0 and b == a + 1]
    assert len(pairs) >= 6
    ours, theirs = (sum(worst[p]) / len(worst[p]) for p in (digest, "incumbent"))
    assert ours < theirs
