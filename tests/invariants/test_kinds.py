"""The invariants that kinds bring: honest replays keep them, and every lie of a summary breaks one."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies import registry
from gnomon.policies.cache import cache
from gnomon.policies.llm_scheduler import llm_scheduler
from gnomon.sdk.invariant import broken_over
from gnomon.shadow.policy import baseline_policy
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.simulators.base import ReplaySummary
from gnomon.shadow.simulators.cache.model import CacheSummary, outcomes
from gnomon.shadow.simulators.expert_placement.model import PlacementSummary
from gnomon.shadow.simulators.llm_router.model import LlmRouterSummary
from gnomon.shadow.simulators.llm_scheduler.model import (
    RequestSummary,
    _most_overtaken,
    _most_waiting,
)
from gnomon.shadow.simulators.load_balancer.books import LoadBalancerSummary
from gnomon.shadow.simulators.scheduler.laws import JobSummary
from gnomon.shadow.traces.access_trace import DELETE, LOOKUP, SET

from ..programs.loads import trace as loads
from ..shadow.accesses import lookups
from ..shadow.examples import example, score_kinds

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "invariants.md"
KINDS = [*score_kinds(), "expert_placement"]
#: An incumbent of each kind that is replayed here.
USUAL = {"cache": "lru", "expert_placement": "eplb", "llm_router": "least_outstanding",
         "llm_scheduler": "fcfs", "load_balancer": "round_robin", "scheduler": "fcfs"}  # fmt: skip

#: By kind: a field of a summary, what a cheat makes of it, and the invariants that this breaks.
LIES: dict[str, list[tuple[str, Any, set[str]]]] = {
    "cache": [
        ("completions", lambda n: n - 1, {"conservation"}),  # a lookup was dropped
        ("lowest_outcome", lambda _: -1.0, {"conservation"}),  # more than a hit
        ("most_held", lambda held: held * 1e6, {"conservation"}),  # more than fits
        ("phantom_hits", lambda _: 1, {"no_phantom_hit"}),  # found what nobody brought
    ],
    "load_balancer": [
        ("completions", lambda n: n - 1, {"conservation"}),
        ("picks", lambda picks: (picks[0] - 1, *picks[1:]), {"conservation"}),
        ("lowest_outcome", lambda _: -1.0, {"conservation"}),  # answered before it was asked
        ("late_starts", lambda _: 1, {"conservation"}),  # out of order, or idle beside a queue
        ("most_over_slots", lambda _: 1, {"conservation"}),
        ("present_s", lambda s: s * 1.01, {"conservation"}),
        ("sojourn_s", lambda s: s * 0.99, {"conservation"}),
        ("busy_s", lambda s: (s[0] * 0.99, *s[1:]), {"conservation"}),
        ("work_s", lambda s: (s[0] * 1.01, *s[1:]), {"conservation"}),  # work was skipped
        ("wrong_outcomes", lambda _: 1, {"conservation"}),
    ],
    "llm_router": [
        ("completions", lambda n: n - 1, {"conservation"}),
        ("picks", lambda picks: (picks[0] - 1, *picks[1:]), {"conservation"}),
        ("lowest_outcome", lambda _: -1.0, {"conservation"}),
        ("excess_hits", lambda _: 1, {"conservation"}),  # a prefix that nobody had sent
        ("late_starts", lambda _: 1, {"conservation"}),
        ("most_over_slots", lambda _: 1, {"conservation"}),
        ("present_s", lambda s: s * 1.01, {"conservation"}),
        ("sojourn_s", lambda s: s * 0.99, {"conservation"}),
    ],
    "scheduler": [
        ("completions", lambda n: n - 1, {"conservation"}),
        ("shortest_wait_ms", lambda _: -1.0, {"conservation"}),  # run before it arrived
        ("wrong_outcomes", lambda _: 1, {"conservation"}),  # reports what the job did not have
        ("latencies_s", lambda s: s * 0.9, {"littles_law"}),
        ("jobs_over_time_s", lambda s: s * 1.1, {"littles_law"}),
        ("busy_s", lambda s: s * 0.9, {"busy_time"}),
        ("work_s", lambda s: s * 1.1, {"busy_time"}),
        ("overlap_s", lambda _: 1.0, {"busy_time"}),  # two jobs on a worker
        ("idle_s", lambda _: 100.0, {"work_conservation"}),
        ("longest_wait_ms", lambda _: 1e9, {"no_starvation"}),
    ],
    "llm_scheduler": [
        ("completions", lambda n: n - 1, {"conservation"}),
        ("in_order", lambda _: False, {"conservation"}),
        ("latencies_s", lambda s: s * 0.9, {"littles_law"}),
        ("most_tokens", lambda _: 10**9, {"within_limits"}),
        ("most_running", lambda _: 10**9, {"within_limits"}),
        ("fewest_free_blocks", lambda _: -1, {"within_limits"}),
        ("tokens_made", lambda n: n - 1, {"no_token_lost"}),
        ("blocks_left", lambda n: n - 1, {"no_token_lost"}),  # memory leaks
        ("busy_s", lambda s: s * 0.9, {"work_conservation"}),
        ("most_overtaken", lambda _: 10**9, {"no_starvation"}),
    ],
    "expert_placement": [
        ("completions", lambda n: n - 1, {"conservation"}),
        ("unserved", lambda _: 1.0, {"conservation"}),  # load of an expert that nobody holds
        ("lowest_outcome", lambda _: 0.5, {"conservation"}),  # better than even
        ("wrong_outcomes", lambda _: 1, {"conservation"}),  # reports what the ranks did not have
        ("split", lambda _: 1, {"no_group_split"}),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what an honest replay of every kind says of itself."""
    found = {}
    for name in KINDS:
        kind, folder = registry.kind(name), tmp_path_factory.mktemp(name)
        if name == "expert_placement":
            trace: Any = loads(60)
            calibration = simulator_for(kind).calibrate(trace)
        else:
            trace, calibration = example(kind, folder)
        policy = baseline_policy(USUAL[name], kind)
        found[name] = policy.replay(simulator_for(kind), trace, calibration, 0).summary()
    return found


@pytest.mark.parametrize("name", KINDS)
def test_an_honest_replay_keeps_them_and_every_lie_breaks_one(
    name: str, summaries: dict[str, Any]
) -> None:
    summary, kind = summaries[name], registry.kind(name)
    assert not broken_over(summary, kind.invariants)
    for field, lie, broken in LIES[name]:
        told = dataclasses.replace(summary, **{field: lie(getattr(summary, field))})
        names = {each.name for each in broken_over(told, kind.invariants)}
        assert broken <= names, (field, names)


@pytest.mark.parametrize("name", KINDS)
def test_every_replay_invariant_has_a_lie_that_it_catches(name: str) -> None:
    caught = {each for _, _, broken in LIES[name] for each in broken}
    replay = {i.name for i in registry.kind(name).invariants if i.scope == "replay"}
    starving = {"no_starvation"} if name in ("load_balancer", "llm_router") else set()
    assert replay - caught <= starving  # the members' own: see below


@pytest.mark.parametrize(("name", "severity"), [("load_balancer", "block"), ("llm_router", "warn")])
def test_a_member_that_nobody_picks_is_starved(
    name: str, severity: str, summaries: dict[str, Any]
) -> None:
    summary, kind = summaries[name], registry.kind(name)
    members = len(summary.picks)
    lonely = dataclasses.replace(
        summary, decisions=600 * members, longest_unpicked=(0,) * (members - 1) + (501 * members,)
    )
    (found,) = [i for i in broken_over(lonely, kind.invariants) if i.name == "no_starvation"]
    assert found.severity == severity


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([LOOKUP, SET, DELETE]), st.booleans()),
        min_size=1, max_size=40,
    ),
    st.data(),
)  # fmt: skip
def test_a_phantom_hit_is_what_a_set_of_all_that_was_brought_says(
    accesses: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    key, op, brings = (np.array(column) for column in zip(*accesses, strict=True))
    plain = lookups(key.tolist(), 6)
    size = np.where(brings | (op == SET), 1.0, np.nan)
    trace = dataclasses.replace(plain, op=op.astype(np.int8), size=size)
    miss = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(key), max_size=len(key))))
    there: set[int] = set()
    phantoms = 0
    for each, what, comes, missed in zip(key.tolist(), op, brings, miss, strict=True):
        if what == LOOKUP:
            phantoms += missed == 0 and each not in there
            there |= {each} if comes else set()
        elif what == SET:
            there.add(each)
        else:
            there.discard(each)
    assert outcomes(trace, miss.astype(np.uint8)).summary().phantom_hits == phantoms


def test_what_was_there_when_recording_began_may_be_hit() -> None:
    trace = lookups([1, 2, 1], 6)
    recorded = dataclasses.replace(trace, hit=np.array([1, 0, 1], np.int8))
    nothing = np.zeros(3, np.uint8)
    assert outcomes(recorded, nothing).summary().phantom_hits == 1  # key 2 only
    assert outcomes(trace, nothing).summary().phantom_hits == 2


@pytest.mark.parametrize("name", cache.baselines)
def test_no_published_cache_policy_hits_a_phantom(name: str) -> None:
    keys = (np.random.default_rng(1).zipf(1.3, 300) % 40).tolist()
    trace, simulator = lookups(keys, 8), simulator_for(cache)
    replay = baseline_policy(name, cache).replay(simulator, trace, simulator.calibrate(trace), 0)
    assert not broken_over(replay.summary(), cache.invariants)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=12))
def test_who_was_overtaken_and_how_many_waited_is_what_counting_says(
    requests: list[tuple[int, int]],
) -> None:
    ordered = sorted((at, at + wait) for at, wait in requests)
    arrival, admitted = (np.array(column, float) for column in zip(*ordered, strict=True))
    overtaken = max(
        sum(b > a and left_b < left_a for b, left_b in ordered) for a, left_a in ordered
    )
    assert _most_overtaken(arrival, admitted) == overtaken
    waiting = max(sum(a <= at <= left for a, left in ordered) for at, _ in ordered)
    assert _most_waiting(arrival, admitted) == waiting


@pytest.mark.parametrize("name", llm_scheduler.baselines)
def test_published_policies_of_a_server_starve_nobody(name: str, tmp_path: Path) -> None:
    trace, calibration = example(llm_scheduler, tmp_path)
    policy = baseline_policy(name, llm_scheduler)
    summary = policy.replay(simulator_for(llm_scheduler), trace, calibration, 0).summary()
    assert not broken_over(summary, llm_scheduler.invariants)
    assert (summary.most_overtaken == 0) == (name == "fcfs") or summary.most_overtaken < 90


def test_the_page_lists_every_built_in_invariant() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| (decision|replay) \| (block|warn) \|",
        PAGE.read_text(),
        re.MULTILINE,
    )
    there = [
        (name, i.name, i.scope, i.severity)
        for name in KINDS
        for i in registry.kind(name).invariants
    ]
    assert sorted(rows) == sorted(there)


@pytest.mark.parametrize(
    "summary",
    [ReplaySummary, LoadBalancerSummary, LlmRouterSummary, CacheSummary, JobSummary,
     RequestSummary, PlacementSummary],
)  # fmt: skip
def test_the_page_says_what_every_summary_holds(summary: Any) -> None:
    known = {f.name for f in dataclasses.fields(summary)}
    text = PAGE.read_text().split("## Summaries")[1].split("## Suggestions")[0]
    sections = [set(re.findall(r"`(\w+)`", section)) for section in text.split("\n**")]
    base = {f.name for f in dataclasses.fields(ReplaySummary)}
    assert any(known <= section | base for section in sections), summary.__name__
