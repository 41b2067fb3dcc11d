"""The demo's own measuring: generator log, lag, backends."""

from __future__ import annotations

import asyncio
import io
import json
import random
import time
from pathlib import Path

import pytest

from gnomon.demo.backend import Backend
from gnomon.demo.generator import LagWatch
from gnomon.demo.plan import EQUAL, UNEQUAL, plan_for
from gnomon.demo.traffic import read_traffic


def write_log(path: Path, rows: list[list[object]], tail: str = "") -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return path


def test_a_log_is_read_in_order_and_a_cut_line_is_left_out(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        [2.0, 30.0, 200, "", "a"],
        [1.0, 10.0, 200, "", "b"],
        [3.0, 5000.0, 0, "timeout", ""],
        [4.0, 1.0, 0, "reset: ServerDisconnectedError", ""],
        [5.0, 1.0, 503, "", "a"],
    ]
    traffic = read_traffic(write_log(tmp_path / "log", rows, tail="[6.0, 1.0, 2"))
    assert traffic.backend == ("b", "a", "", "", "a")
    assert traffic.faults() == {"requests": 5, "non_2xx": 1, "resets": 1, "timeouts": 1}
    early = traffic.between(0, int(2.5e9))
    assert early.latency() == {"mean": 20.0, "p50": 20.0, "p99": pytest.approx(29.8)}


def test_nothing_sent_is_not_a_number(tmp_path: Path) -> None:
    traffic = read_traffic(write_log(tmp_path / "log", []))
    assert str(traffic.latency()["mean"]) == "nan"
    assert traffic.faults()["requests"] == 0


def test_a_block_is_late_by_its_99th_percentile() -> None:
    late = io.StringIO()
    watch = LagWatch(block_ns=1000, limit_ms=5.0, late=late)
    for i in range(300):  # block 0: two stragglers of 300 are under the percentile
        watch.add(i, 50.0 if i < 2 else 1.0)
    for i in range(300):  # block 1: ten of 300 are over it
        watch.add(1000 + i, 50.0 if i < 10 else 1.0)
    watch.add(2000, 0.0)
    lines = [json.loads(line) for line in late.getvalue().splitlines()]
    assert lines == [{"block": 1, "lag_ms": 50.0, "max_ms": 50.0}]


def test_a_backend_queues_beyond_its_slots() -> None:
    async def serve_four() -> float:
        backend = Backend(40.0, slots=2, spells=False, rng=random.Random(1))
        start = time.monotonic()
        await asyncio.gather(*(backend.serve(None) for _ in range(4)))  # type: ignore[arg-type]
        return time.monotonic() - start

    # Two waves of two: at least twice the shortest service time that these draws can give.
    assert asyncio.run(serve_four()) > 0.030


def test_the_plans_keep_their_promises() -> None:
    speeds = [spec.service_ms for spec in UNEQUAL]
    assert max(speeds) <= 3 * min(speeds)
    assert sum(spec.spells for spec in UNEQUAL) == 1
    assert len({spec.service_ms for spec in EQUAL}) == 1
    for quick in (False, True):
        for null in (False, True):
            plan = plan_for(3, quick=quick, null=null)
            assert plan.min_pairs <= plan.max_pairs
            assert plan.burn_in_s + plan.skew_s < plan.block_s
