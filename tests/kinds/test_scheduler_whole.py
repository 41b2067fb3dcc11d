"""A scheduler goes all the way: from a pool's traffic to a policy that decides in the running pool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnomon.policies.scheduler import scheduler
from gnomon.shadow.fidelity import fidelity
from gnomon.shadow.policy import baseline_policy
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.traces.job_trace import JobTrace
from gnomon.shadow.traces.trace import load_trace

from .stage import EXAMPLES, ended, stage, until
from .test_lanes_whole import RAMP, Deployment, accepted_of, promoted

HOOK, INCUMBENT = "jobs.next", "scheduler:next_job"
SIMULATOR = simulator_for(scheduler)
#: A p99 within two tenths is that of some ten bursts, and on a busy machine needs more pairs to be told.
PATIENT = ("--max-pairs", 200, *(word for word in RAMP if word not in ("--max-pairs", 60)))
#: A holdout of 16 blocks of 0.2 s is a quarter of it.
RECORDED_S = 14.0


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployment]:
    with stage(tmp_path) as empty:
        yield Deployment(empty, EXAMPLES / "scheduler.py", HOOK, "")


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_pool_is_given_a_better_order_and_back(deployed: Deployment) -> None:
    run = deployed.stage.run
    until(lambda: deployed.recorded(RECORDED_S), "recording")
    (recorded,) = run("traces", deployed.store)["hooks"]
    assert recorded["kinds"] == ["scheduler/1"]
    faithful(load_trace(deployed.store, HOOK))

    table = run(
        "replay",
        deployed.store,
        "--hook",
        INCUMBENT,
        "--policy",
        "baseline:sjf",
        "--policy",
        "baseline:srpt",
    )
    assert table["fidelity"]["answer"] == "ok"
    assert {row["policy"] for row in table["rows"]} == {"incumbent", "sjf", "srpt"}

    verdict, best = accepted_of(deployed, INCUMBENT)
    key = ("--key", f"{deployed.publisher}.pem")
    made = run("ship", best, "--verdict", verdict["path"], *key, *deployed.control_plane, *PATIENT)
    reports = deployed.followed()
    promoted(reports)
    digest = made["candidate"]
    until(lambda: deployed.deciding() == digest, "the policy to decide")
    shorter(deployed.decisions(), digest)
    killed = run("rollout", "kill", "--reason", "end of the test", *deployed.control_plane)
    assert killed["state"] == "ABORTED"
    until(lambda: deployed.deciding() == "incumbent", "the service's own function to decide")
    assert ended(deployed.service) == 0
    assert "Traceback" not in (deployed.stage.folder / "service.log").read_text()
    assert run("audit", "verify", *deployed.control_plane)["ok"]


def faithful(trace: Any) -> None:
    """Check that the first half of a capture foretells the second."""
    assert isinstance(trace, JobTrace)
    middle = trace.span_s / 2.0
    fitted = SIMULATOR.calibrate(trace.window(-np.inf, middle))
    assert fitted.workers.tolist() == [3]
    second = trace.window(middle, np.inf)
    fcfs = baseline_policy("fcfs", scheduler)
    for found in (
        fidelity(trace, fcfs, SIMULATOR, fitted),
        fidelity(second, fcfs, SIMULATOR, fitted),
    ):
        assert found.answer == "ok", found


def shorter(decisions: list[dict[str, Any]], digest: str) -> None:
    """Check in the recorded traffic that latencies are shorter under the policy that was shipped."""
    latencies: dict[str, list[float]] = {"incumbent": [], digest: []}
    for row in decisions:
        values = dict(row["values"] or ())
        if "latency_ms" in values:
            latencies[row["policy"]].append(values["latency_ms"])
    ours, theirs = (float(np.mean(latencies[policy])) for policy in (digest, "incumbent"))
    assert ours < theirs
