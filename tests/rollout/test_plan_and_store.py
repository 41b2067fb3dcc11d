"""The plan's checks, and what the store gives back."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gnomon.policies.rollout.blocks import Report
from gnomon.policies.rollout.outcomes import Arm
from gnomon.policies.rollout.plan import read_plan
from gnomon.policies.rollout.store import ClientRow, Happened, Row, Store
from gnomon.sdk.errors import RolloutError, TrustError
from gnomon.v1 import policy_pb2


@pytest.fixture
def message(publisher: Any, ramp: Any) -> policy_pb2.RampPlan:
    envelope = publisher.plan(publisher.bundle(), 1, ramp)
    return policy_pb2.RampPlan.FromString(envelope.payload)


def test_a_good_plan_is_read_in_full(message: policy_pb2.RampPlan) -> None:
    plan = read_plan(message.SerializeToString())
    assert (plan.hook, plan.weights, plan.block_ns) == ("router.pick", (0.5, 1.0), 2_000_000_000)
    assert [rail.name for rail in plan.rails] == ["failures"]
    assert plan.predicted["incumbent"].low == -0.2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hook": ""}, "hook is empty"),
        ({"stable": "", "candidate": "x"}, "stable is empty"),
        ({"candidate": "incumbent"}, "both incumbent"),
        ({"weights": [1.0]}, "weights"),
        ({"weights": [0.5]}, "weights"),
        ({"weights": [0.5, 0.2, 1.0]}, "must ascend"),
        ({"weights": [0.7, 1.0]}, "must ascend"),
        ({"block_ns": 0}, "block of 0 ns"),
        ({"burn_in_ns": 2_000_000_000}, "leave nothing of a block"),
        ({"min_pairs": 0}, "min_pairs 0"),
        ({"min_pairs": 99}, "min_pairs 99"),
        ({"alpha_abort": 0.0}, "alpha_abort"),
        ({"objective_clip": float("inf")}, "objective_clip"),
        ({"lease_ns": 0}, "lease"),
        ({"shadow_rate": float("nan")}, "shadow_rate nan"),
        ({"shadow_rate": 1.5}, "shadow_rate 1.5"),
        ({"shadow_rate": 0.0}, "never computes"),
        ({"arms": 9}, "switchback, sticky or paired"),
        ({"arms": policy_pb2.ARMS_STICKY}, "slices 0 must be 100 to 10000"),
        ({"arms": policy_pb2.ARMS_STICKY, "slices": 20_000}, "slices 20000 must be"),
        ({"arms": policy_pb2.ARMS_STICKY, "slices": 120}, "slices 120 must be a multiple of 50"),
        (
            {"arms": policy_pb2.ARMS_STICKY, "slices": 100, "weights": [0.005, 1.0]},
            "weight 0.005 of 100 slices is no whole number",
        ),
        (
            {"arms": policy_pb2.ARMS_STICKY, "slices": 100, "weights": [1e-9, 1.0]},
            "weight 1e-09 of 100 slices is none",
        ),
    ],
)
def test_a_bad_plan_names_its_value(
    message: policy_pb2.RampPlan, change: dict[str, Any], words: str
) -> None:
    for name, value in change.items():
        message.ClearField(name)  # type: ignore[arg-type]
        if isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    with pytest.raises(RolloutError, match=words):
        read_plan(message.SerializeToString())


@pytest.mark.parametrize(
    ("low", "estimate", "high"),
    [
        (float("nan"), -0.1, 0.0),
        (-0.2, float("nan"), 0.0),
        (-0.2, -0.1, float("inf")),
        (-2.0, -0.1, 0.0),
        (-0.05, -0.1, 0.0),
        (-0.2, 0.1, 0.0),
    ],
)
def test_a_prediction_that_is_no_interval_is_refused(
    message: policy_pb2.RampPlan, low: float, estimate: float, high: float
) -> None:
    found = policy_pb2.Interval(low=low, estimate=estimate, high=high)
    message.predicted["incumbent"].CopyFrom(found)
    with pytest.raises(RolloutError, match="predicted against 'incumbent'"):
        read_plan(message.SerializeToString())


@pytest.mark.parametrize(
    ("rail", "words"),
    [
        ({"statistic": "median"}, "none of"),
        ({"statistic": "mean", "metric": "cpu"}, "not 'cpu'"),
        ({"statistic": "failure_rate", "margin": -1.0}, "margin -1"),
    ],
)
def test_a_guardrail_that_cannot_be_measured_is_refused(
    message: policy_pb2.RampPlan, rail: dict[str, Any], words: str
) -> None:
    message.guardrails.add(name="g", **rail)
    with pytest.raises(RolloutError, match=f"guardrail g: .*{words}"):
        read_plan(message.SerializeToString())


def test_garbage_is_no_plan() -> None:
    with pytest.raises(RolloutError, match="no ramp plan"):
        read_plan(b"\xff\xff\xff")


ROW = Row("r-1", "h", b"plan", 3, 2, {"p": {"decisions": 4}}, {"status": "SHADOW"})


def test_what_is_stored_comes_back_after_reopening(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "rollouts.db")
    happened = store.save(ROW, [Happened("k", "a", "s", {"x": 1})], "request-1")
    store.save(replace(ROW, epoch=4, state={"status": "CANARY"}), [])
    store.put_bundle("d", b"one")
    store.put_bundle("d", b"two")
    store.put_clients([ClientRow("h", "p", "router", "a", 3, "")])
    store.put_clients([ClientRow("h", "p", "router", "a", 4, "no")])
    report = Report("p", "a", 7, "stable", Arm(3, 4.5, 1, (1, 2)), 1, 2)
    store.put_reports("r-1", 1, [replace(report, unresolved=9)])
    store.put_reports("r-1", 1, [report])
    store.close()
    again = Store(tmp_path / "deep" / "rollouts.db")
    assert again.rollouts() == [replace(ROW, epoch=4, state={"status": "CANARY"})]
    assert again.epochs() == {"h": 4}
    assert [event.number for event in happened] == [1]
    assert again.events(0) == happened
    assert again.events(1) == []
    assert (again.request("request-1"), again.request("other")) == ("r-1", "")
    assert again.bundles() == {"d": b"two"}
    assert again.clients() == [ClientRow("h", "p", "router", "a", 4, "no")]
    assert again.reports("r-1", 1) == [report]
    assert again.reports("r-1", 2) == []
    again.close()


def test_foreign_and_future_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.db").write_bytes(b"not a database, but long enough to be looked at" * 30)
    with pytest.raises(TrustError, match=r"junk\.db is not"):
        Store(tmp_path / "junk.db")
    connection = sqlite3.connect(tmp_path / "future.db")
    connection.execute("pragma user_version=99")
    connection.close()
    with pytest.raises(TrustError, match="version 99"):
        Store(tmp_path / "future.db")
