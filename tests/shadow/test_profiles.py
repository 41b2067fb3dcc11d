"""Profiles of traces: quantile bins with ties and constants, the same from a trace and from its store."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.recorder.sink import StoreSink
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.profile import bin_of, check_profile
from gnomon.sdk.records import Decision
from gnomon.shadow import profiles
from gnomon.shadow.drift import drift_of
from gnomon.shadow.traces.trace import DecisionTrace
from gnomon.v1 import policy_pb2

HOOK, SECOND, START = "router.pick", 1_000_000_000, 1_700_000_000_000_000_000
NAMES = [feature.name for feature in load_balancer.features]


def trace(features: Any) -> DecisionTrace:
    n, m = len(features), features.shape[1]
    zeros = np.zeros(n, np.int32)
    return DecisionTrace(
        HOOK, "load_balancer", START, tuple(map(str, range(m))), ("p",), np.arange(float(n)), zeros,
        zeros, features, np.ones(n), np.ones(n, np.bool_),
    )  # fmt: skip


def drawn(n: int, shift: float = 0.0, seed: int = 1) -> Any:
    """Return features of n decisions over three items: whole numbers, a normal one, a constant."""
    rng = np.random.default_rng(seed)
    features = np.ones((n, 3, len(load_balancer.inputs)))
    features[:, :, 0] = rng.poisson(1.0, (n, 3))
    features[:, :, 1] = rng.normal(50.0 + shift, 10.0, (n, 3))
    return features


def stored(folder: Path, *parts: tuple[int, Any]) -> TraceStore:
    """Return a store of decisions, each part from a second of START on, a decision a millisecond."""
    sink = StoreSink(TraceStore(folder), "router")
    hook = SimpleNamespace(process_id="0" * 16, name=HOOK, kind=load_balancer)
    seq = 0
    for second, features in parts:
        records = []
        for index, items in enumerate(features):
            at = START + second * SECOND + index * 1_000_000
            inclusion = "violation" if index % 10 == 9 else "sampled"
            records.append(
                Decision(seq, at, 1, "", "stable", "static", "", "p", 1, -1, 0, len(items),
                         tuple(items.ravel().tolist()), 1.0, inclusion, 0, 0)
            )  # fmt: skip
            seq += 1
        sink.write(hook, records)
    sink.close()
    return TraceStore(folder)


def test_a_profile_has_quantile_bins_and_says_how_new_the_trace_is() -> None:
    found = profiles.profile_of(trace(drawn(4_000)), load_balancer)
    assert (found["decisions"], found["until_ns"]) == (4_000, START + 3_999 * SECOND)
    by_name = {each["name"]: each for each in found["features"]}
    assert list(by_name) == NAMES  # what the host adds is no workload
    normal = by_name[NAMES[1]]
    assert len(normal["edges"]) == 9
    assert normal["shares"] == pytest.approx((0.1,) * 10, abs=1e-3)
    counts = by_name[NAMES[0]]
    assert all(edge.is_integer() for edge in counts["edges"])
    assert counts["shares"][0] == pytest.approx(np.exp(-1.0), abs=0.04)  # all zeros together
    assert by_name[NAMES[2]]["shares"] == (0.0, 1.0, 0.0)


values = st.one_of(st.floats(-1e12, 1e12), st.sampled_from([0.0, -0.0, 1.0, float("inf")]))


@given(st.lists(values, min_size=1, max_size=60))
def test_any_values_make_a_profile_that_a_service_accepts_and_counts_alike(
    seen: list[float],
) -> None:
    features = np.zeros((len(seen), 1, len(load_balancer.inputs)))
    features[:, 0, 0] = seen
    found = profiles.profile_of(trace(features), load_balancer)
    made = profiles.message(found, "t")
    assert made is not None
    check_profile(made)
    for feature in made.features:
        if feature.name == NAMES[0]:
            finite = [value for value in seen if np.isfinite(value)]
            bins = np.bincount([bin_of(feature.edges, v) for v in finite], minlength=2)
            shares = np.array(feature.shares)
            assert (bins / len(finite) == pytest.approx(shares[: len(bins)])) and len(finite)


def test_a_store_gives_the_profile_that_its_trace_gives(tmp_path: Path) -> None:
    features = drawn(3_000)
    store = stored(tmp_path, (0, features))
    rows = profiles.rows_of(store, HOOK, load_balancer, START, START + 100 * SECOND)
    assert len(rows) == 2_700  # a tenth was recorded for its violation
    from_trace = profiles.message(profiles.profile_of(trace(features), load_balancer), "t")
    assert from_trace is not None
    counts = profiles.counts_of(rows, from_trace, load_balancer)
    for feature in from_trace.features:
        share = np.array(counts[feature.name]) / len(rows)
        assert share == pytest.approx(np.array(feature.shares), abs=0.05)
    other = SimpleNamespace(hook=HOOK, start_ns=START, time=np.array([0.0, 1.0]))  # of jobs, say
    looked_up = profiles.profile_of(other, load_balancer, store)  # type: ignore[arg-type]
    assert looked_up["decisions"] == 901
    assert profiles.profile_of(other, load_balancer)["features"] == ()  # type: ignore[arg-type]


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stored(tmp_path, (0, drawn(1_000)), (5, drawn(1_000)))
    monkeypatch.setattr(profiles, "MOST_ROWS", 256)
    rows = profiles.rows_of(store, HOOK, load_balancer, START, START + 100 * SECOND)
    assert 64 < len(rows) <= 256


def profile() -> policy_pb2.Profile:
    made = profiles.message(profiles.profile_of(trace(drawn(5_000, seed=3)), load_balancer), "t")
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("shift", "n", "answer"),
    [(0.0, 900, "same"), (10.0, 900, "drifted"), (10.0, 150, "inconclusive")],
)
def test_the_newest_traffic_of_a_store_is_compared(
    tmp_path: Path, shift: float, n: int, answer: str
) -> None:
    store = stored(tmp_path, (0, drawn(2_000, 30.0)), (1_000, drawn(n, shift)))
    newest = START + 1_000 * SECOND
    found = drift_of(
        store, HOOK, load_balancer, profile(), last_s=500.0, clock=lambda: newest + 3600 * SECOND
    )
    assert found.answer == answer
    assert found.age_s == pytest.approx(3600.0, abs=2.0)
    assert (found.first_ns, {each.first for each in found.features}) == (0, {None})
    moved = [each.name for each in found.features if each.index > 0.25]
    assert moved == ([NAMES[1]] if shift else [])
    assert found.as_json()["answer"] == answer
    assert answer in str(found)


def test_what_the_policy_itself_has_changed_is_no_drift(tmp_path: Path) -> None:
    own, moved = drawn(900, 10.0), drawn(900, 30.0)
    store = stored(tmp_path, (0, own), (1_000, own), (2_000, moved))
    until = START + 1_000 * SECOND
    by_trace = drift_of(store, HOOK, load_balancer, profile(), last_s=500.0)
    assert by_trace.answer == "drifted"
    early = stored(tmp_path / "early", (0, own), (1_000, own))
    same = drift_of(early, HOOK, load_balancer, profile(), policy="p", last_s=500.0)
    assert (same.answer, same.first_ns) == ("same", START)
    assert [each.index for each in same.features] == [
        min(each.trace, math.inf if each.first is None else each.first) for each in same.features
    ]
    assert None not in {each.first for each in same.features}
    assert max(each.trace for each in same.features) > 0.25
    later = drift_of(store, HOOK, load_balancer, profile(), policy="p", last_s=500.0)
    assert (later.answer, later.until_ns > until) == ("drifted", True)
    overlapping = drift_of(early, HOOK, load_balancer, profile(), policy="p", last_s=800.0)
    assert overlapping.first_ns == 0
    unknown = drift_of(early, HOOK, load_balancer, profile(), policy="q", last_s=500.0)
    assert (unknown.first_ns, unknown.answer) == (0, "drifted")


@pytest.mark.parametrize(
    ("limit", "last_s", "said"),
    [
        (math.nan, 500.0, "limit nan must be above 0"),
        (0.0, 500.0, "limit 0 must be above 0"),
        (0.25, 0.0, "the last 0 s hold no traffic"),
    ],
)
def test_numbers_that_compare_nothing_are_refused(
    tmp_path: Path, limit: float, last_s: float, said: str
) -> None:
    store = stored(tmp_path, (0, drawn(2_000, 30.0)))
    with pytest.raises(ConfigurationError, match=said):
        drift_of(store, HOOK, load_balancer, profile(), limit=limit, last_s=last_s)


def test_without_features_there_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="verify again on a trace that holds decisions"):
        drift_of(TraceStore(tmp_path), HOOK, load_balancer, policy_pb2.Profile())
