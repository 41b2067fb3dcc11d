"""The worker pool: jobs of several lanes that wait at once, and policies that would pick another."""

from __future__ import annotations

import gzip
import random
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gnomon import testing
from gnomon.sdk.runtime import RUNTIME

from .services import asleep, imported, recorder, service, shown, stored

UVICORN = ["uvicorn", "--fd", "FD", "worker_pool:app"]
LANES = ("urgent", "normal", "batch")


def jobs(count: int) -> list[tuple[str, bytes]]:
    """Return lanes and bodies, no two the same, the least urgent lane first."""
    rng = random.Random(5)
    return [(LANES[-1 - n % 3], rng.randbytes(20_000)) for n in range(count)]


def waiting(decision: dict[str, Any]) -> list[float]:
    """Return how many jobs waited in each lane."""
    features = decision["features"]
    return [features[at] for at in range(0, len(features), len(features) // len(LANES))]


def test_every_job_is_served_once_and_of_those_that_wait_the_most_urgent(tmp_path: Path) -> None:
    sent = jobs(24)
    with recorder(tmp_path) as env, service(UVICORN, tmp_path, **env) as pool, ExitStack() as stack:
        assert pool.ask("/elsewhere", b"body")[0] == 422
        with asleep(pool.process.pid):  # so that all of them wait
            asked = [stack.enter_context(pool.asked(f"/{lane}", body)) for lane, body in sent]
        answers = [connection.getresponse().read() for connection in asked]
        pool.stop()
    assert [gzip.decompress(answer) for answer in answers] == [body for _, body in sent]
    decisions = stored(tmp_path)
    assert Counter(row["action"] for row in decisions) == {0: 8, 1: 8, 2: 8}
    assert {row["outcome_status"] for row in decisions} == {"reported"}
    for row in decisions:
        assert row["action"] == [n > 0 for n in waiting(row)].index(True)
    assert any(all(waiting(row)) for row in decisions)
    (found,) = shown("traces", tmp_path)["hooks"]
    assert (found["hook"], found["kinds"], found["matched"]) == ("jobs.next", ["job_lanes/1"], 24)
    assert (found["reasons"], found["inclusions"]) == ({"static": 24}, {"sampled": 24})


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(RUNTIME, "hooks", {})
    return imported("worker_pool")


@pytest.mark.parametrize("filled", [["urgent"], ["batch", "normal"], ["batch", "urgent"]])
def test_its_published_policy_picks_as_the_function_does(
    pool: ModuleType, filled: list[str]
) -> None:
    for lane in filled:
        pool.JOBS[lane].append((b"body", time.monotonic(), None))
    own = pool.next_lane(LANES)
    with testing.recording() as recorded:
        testing.force(pool.next_lane, "strict_priority")
        assert pool.next_lane(LANES) == own
        assert not recorded.decisions[0].detail  # no fallback


def test_a_policy_that_picks_an_empty_lane_is_overruled(pool: ModuleType) -> None:
    pool.JOBS["normal"].append((b"body", time.monotonic(), None))
    with testing.recording() as recorded:
        testing.force(pool.next_lane, "def score(waiting):\n    return waiting\n")
        assert pool.next_lane(LANES) == "normal"
        assert recorded.decisions[0].detail == "violation:no_empty_lane"
