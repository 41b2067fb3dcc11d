"""A kind that the product has never heard of goes all the way, from a service's traffic to its policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gnomon import api
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError

from .stage import OUTSIDE, Stage, ended, stage, until

pytestmark = pytest.mark.long

HOOK = "workers.next"
#: What the service's own function is found under.
INCUMBENT = "lane_service:pick"
#: A holdout of 16 blocks of 0.2 s is a quarter of it.
RECORDED_S = 13.5
RAMP = (
    "--block", "400ms", "--burn-in", "50ms", "--skew", "20ms", "--soak", "1s", "--lease", "5s",
    "--min-pairs", 6, "--max-pairs", 60, "--shadow-decisions", 50, "--shadow-rate", 1.0,
)  # fmt: skip


class Deployment:
    """Recorder, control plane and service as processes of their own.

    Attributes:
        stage: where they run.
        address, control_plane: of the control plane, as it is and as an option.
        store: what the recorder writes.
        event: of the workload, one for every decision.
        service: the process that decides.
    """

    def __init__(
        self,
        stage: Stage,
        program: Path = OUTSIDE / "lane_service.py",
        hook: str = HOOK,
        event: str = "job",
    ) -> None:
        self.stage, self.hook, self.event = stage, hook, event
        found, self.publisher, self.address = stage.deployed()
        self.control_plane = ("--control-plane", self.address)
        self.store = stage.folder / "traces"
        self.service = stage.start("service", program, **found)

    def decisions(self) -> list[dict[str, Any]]:
        """Return what was recorded so far, in order of time."""
        with suppress(TraceError):  # there is no store before the first records
            rows: list[dict[str, Any]] = TraceStore(self.store).decisions(self.hook).to_pylist()
            return rows
        return []

    def deciding(self) -> str:
        """Return the policy of the last decision that was recorded."""
        return str(self.decisions()[-1]["policy"])

    def recorded(self, seconds: float) -> bool:
        """Return whether so many seconds of decisions are stored, from the first to the last."""
        assert self.service.poll() is None, (self.stage.folder / "service.log").read_text()
        rows = self.decisions()
        return bool(rows) and rows[-1]["time"] - rows[0]["time"] > seconds * 1e9

    def acknowledged(self) -> bool:
        """Return whether every process has said that it runs what the rollout wants."""
        report = api.rollout(control_plane=self.address)
        return (report.acked, report.clients) == (1, 1)

    def followed(self) -> list[dict[str, Any]]:
        """Return the rollout's reports, from now until it is decided."""
        return self.stage.followed(self.address)


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployment]:
    with stage(tmp_path) as empty:
        yield Deployment(empty)


@pytest.mark.timeout(1800)
def test_a_kind_from_outside_goes_from_traffic_to_stable_and_back(deployed: Deployment) -> None:
    run = deployed.stage.run
    until(lambda: deployed.recorded(RECORDED_S), "recording")
    (recorded,) = run("traces", deployed.store)["hooks"]
    assert recorded["kinds"] == ["lanes/1"]
    assert recorded["workload"]["job"] >= 0.95 * recorded["decisions"]

    verdict, best = accepted(deployed)
    key = ("--key", f"{deployed.publisher}.pem")
    made = run("ship", best, "--verdict", verdict["path"], *key, *deployed.control_plane, *RAMP)
    assert (made["state"], made["hook"], made["stable"]) == ("SHADOW", HOOK, "incumbent")

    reports = deployed.followed()
    promoted(reports)
    until(deployed.acknowledged, "the last acknowledgement")
    (client,) = run("rollout", "clients", *deployed.control_plane)
    assert (client["service"], client["connected"], client["last_error"]) == ("workers", True, "")
    assert client["epoch"] >= reports[-1]["epoch"]

    digest = made["candidate"]
    until(lambda: deployed.deciding() == digest, "the policy to decide")
    killed = run("rollout", "kill", "--reason", "end of the test", *deployed.control_plane)
    assert killed["state"] == "ABORTED"
    until(lambda: deployed.deciding() == "incumbent", "the service's own function to decide")
    assert ended(deployed.service) == 0
    assert "Traceback" not in (deployed.stage.folder / "service.log").read_text()
    canaried(deployed.decisions(), digest)
    assert run("audit", "verify", *deployed.control_plane)["ok"]
    assert run("audit", "verify")["ok"]
    explained = run("audit", "explain", digest, *deployed.control_plane)
    assert {entry["kind"] for entry in explained} >= {"rollout.created", "rollout.transition"}


def accepted(deployed: Deployment) -> tuple[dict[str, Any], Path]:
    """Search and verify against the service's own function; return the verdict and the policy."""
    verdict, best = accepted_of(deployed, INCUMBENT)
    gates = {gate["name"]: gate["answer"] for gate in verdict["gates"]}
    assert gates.pop("bound") == "skipped"
    assert set(gates.values()) == {"passed"}
    return verdict, best


def accepted_of(deployed: Deployment, incumbent: str) -> tuple[dict[str, Any], Path]:
    """Search and verify against a function; return the verdict, which accepts, and the policy."""
    trace = ("--traces", deployed.stage.frozen(deployed.store, deployed.event), "--hook", incumbent)
    out = deployed.stage.folder / "run"
    found = deployed.stage.run("evolve", *trace, "--budget", 6, "--seed", 3, "--out", out)
    assert found["winner"]["validation"] < found["incumbent"]["validation"]
    verdict = deployed.stage.run("verify", out / "best.py", *trace)
    assert verdict["decision"] == "accepted", verdict["summary"]
    assert verdict["predicted"]["incumbent"]["high"] < 0.0
    return verdict, out / "best.py"


def kept(report: dict[str, Any]) -> dict[str, Any]:
    """Return what a report's evidence says in numbers, without its points."""
    return {name: value for name, value in report["evidence"].items() if name != "points"}


def promoted(reports: list[dict[str, Any]]) -> None:
    """Check that a rollout's reports show states, weights and pairs of blocks."""
    last = reports[-1]
    causes = [step["cause"] for step in last["transitions"]]
    states = [step["to"] for step in last["transitions"]]
    assert states == ["SHADOW", "CANARY", "FULL", "STABLE"], f"{causes}: {kept(last)}"
    assert {report["weight"] for report in reports} >= {0.5, 1.0}
    evidence = last["evidence"]
    counted = [point for point in evidence["points"] if not point["left_out"]]
    assert len(counted) == evidence["pairs"] >= 6
    assert evidence["effect"]["high"] < 0.0
    assert (evidence["shadow_faults"], evidence["shadow_violations"]) == (0, 0)


def canaried(decisions: list[dict[str, Any]], digest: str) -> None:
    """Check in the recorded traffic that whole blocks took turns, and that the candidate was better."""
    split = [row for row in decisions if row["reason"] == "split"]
    arms: dict[int, set[str]] = {}
    waits: dict[str, list[float]] = {"incumbent": [], digest: []}
    for row in split:
        arms.setdefault(row["block"], set()).add(row["policy"])
        waits[row["policy"]].append(dict(row["values"])["weighted_wait_ms"])
    assert all(len(policies) == 1 for policies in arms.values())
    pairs = [(a, b) for a, b in pairwise(sorted(arms)) if a % 2 == 0 and b == a + 1]
    assert len(pairs) >= 6
    assert all(arms[a] | arms[b] == {"incumbent", digest} for a, b in pairs)
    ours, theirs = (sum(waits[p]) / len(waits[p]) for p in (digest, "incumbent"))
    assert ours < theirs
