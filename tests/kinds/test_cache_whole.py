"""A running cache is recorded, and a policy searched on that goes through the canary into it, and back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from gnomon import api
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError

from .stage import OUTSIDE, Stage, ended, stage, until

pytestmark = pytest.mark.long

HOOK = "lookups.cache"
#: A holdout of 16 blocks of 0.2 s is a quarter of it.
RECORDED_S = 13.5
RAMP = (
    "--block", "500ms", "--burn-in", "50ms", "--skew", "20ms", "--soak", "1s", "--lease", "5s",
    "--min-pairs", 6, "--max-pairs", 60, "--shadow-decisions", 30, "--shadow-rate", 0.3,
)  # fmt: skip


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path) as found:
        yield found


def recorded_s(store: Path) -> float:
    """Return how many seconds of accesses are stored."""
    with suppress(TraceError):  # there is no store before the first records
        times = TraceStore(store).workload(HOOK)["time"].to_numpy()
        return float(np.ptp(times)) / 1e9 if len(times) else 0.0
    return 0.0


@pytest.mark.timeout(1800)
def test_a_cache_goes_from_its_accesses_to_a_promoted_policy_and_back(empty: Stage) -> None:
    run, store = empty.run, empty.folder / "traces"
    found, publisher, address = empty.deployed()
    there = ("--control-plane", address)
    service = empty.start("service", OUTSIDE / "cache_service.py", **found)
    until(lambda: recorded_s(store) > RECORDED_S, "recording")
    (recorded,) = run("traces", store)["hooks"]
    assert recorded["kinds"] == ["cache/1"]

    frozen, out = empty.frozen(store), empty.folder / "run"
    searched = run("evolve", "--traces", frozen, "--budget", 12, "--seed", 3, "--out", out)
    assert searched["winner"]["validation"] < searched["incumbent"]["validation"]
    verdict = run("verify", out / "best.py", "--traces", frozen)
    assert verdict["decision"] == "accepted", verdict["summary"]
    answers = {gate["name"]: gate["answer"] for gate in verdict["gates"]}
    assert (answers["fidelity"], answers["bound"]) == ("passed", "passed")

    shipping = ("--verdict", verdict["path"], "--key", f"{publisher}.pem", *there, *RAMP)
    made = run("ship", out / "best.py", *shipping)
    last = empty.followed(address)[-1]
    causes = [step["cause"] for step in last["transitions"]]
    assert [step["to"] for step in last["transitions"]][-2:] == ["FULL", "STABLE"], causes
    assert last["evidence"]["effect"]["high"] < 0.0
    assert within(last["evidence"]["effect"]["estimate"], verdict["predicted"]["incumbent"])
    assert last["evidence"]["pairs"] >= 6
    assert not any(point["left_out"] for point in last["evidence"]["points"])

    killed = run("rollout", "kill", "--reason", "end of the test", *there)
    assert (killed["state"], killed["candidate"]) == ("ABORTED", made["candidate"])
    until(lambda: acknowledged(address), "the service to take it back")
    assert ended(service) == 0
    said = (empty.folder / "service.log").read_text()
    assert "Traceback" not in said
    counters: dict[str, int] = ast.literal_eval(said.strip().splitlines()[-1])
    assert counters["held"] <= 200
    assert counters["decisions"] > 0
    assert counters["faults"] == counters["violations"] == 0
    assert run("audit", "verify", *there)["ok"]


def acknowledged(control_plane: str) -> bool:
    """Return whether the service has said that it runs what the rollout wants."""
    report = api.rollout(control_plane=control_plane)
    return (report.acked, report.clients) == (1, 1)


def within(measured: float, predicted: dict[str, float]) -> bool:
    """Return whether a measured effect is not far from the predicted one: same sign, half to double."""
    ratio = measured / predicted["estimate"]
    return 0.5 < ratio < 2.0
