"""Paired arms: both answer the same traffic in every block, from the plan to the pair that is judged."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.rollout import views
from gnomon.policies.rollout.blocks import EXCLUDE_NS, GRACE_NS, Blocks, Exclusion, Report, excluded
from gnomon.policies.rollout.client import RolloutClient, follow
from gnomon.policies.rollout.outcomes import Arm
from gnomon.policies.rollout.plan import read_plan
from gnomon.policies.rollout.settings import ServerSettings
from gnomon.policies.rollout.shipping import Ramp, build_plan
from gnomon.sdk.assignment import Assignment, Switchback
from gnomon.sdk.channel import Peer
from gnomon.sdk.delivery import DeliveryClient, Settings
from gnomon.sdk.kind import Kind
from gnomon.sdk.manifest import Anchors
from gnomon.shadow.report.rollouts import Rollout
from gnomon.v1 import delivery_pb2, policy_pb2, rollouts_pb2

from .test_server import QUICK, Running

SECOND = 1_000_000_000
DESIGN = Switchback(b"salt" * 4, "a", SECOND, 0, 0, 0.2, paired=True)
PAIR = 850_000_000
FIRST, SECOND_BLOCK = 2 * PAIR, 2 * PAIR + 1
ENDED = (2 * PAIR + 2) * SECOND
SOON = ENDED + EXCLUDE_NS
LATE = ENDED + SECOND + GRACE_NS

Cell = tuple[str, int, str]  # process, block, arm


def filled(*instances: str, change: dict[Cell, tuple[int, int]] | None = None) -> Blocks:
    """Return blocks in which every process counts ten lookups of both arms, but for changes.

    A change says how many are resolved and how many awaited.
    """
    blocks = Blocks()
    for instance in instances:
        for block in (FIRST, SECOND_BLOCK):
            for arm, misses in (("stable", 4.0), ("candidate", 3.0)):
                count, awaited = (change or {}).get((instance, block, arm), (10, 0))
                outcomes = Arm(count, misses if count else 0.0)
                blocks.put(Report(instance, "a", block, arm, outcomes, awaited, 0))
        blocks.heard(instance, ENDED)
    return blocks


def judge(blocks: Blocks, now: int, *expected: str) -> Any:
    return blocks.judge(PAIR, DESIGN, SECOND, now, expected)


def test_both_blocks_of_both_arms_make_one_point() -> None:
    point = judge(filled("p", "q"), SOON, "p", "q")
    assert point.left_out == ""
    assert (point.stable, point.candidate) == (Arm(40, 16.0), Arm(40, 12.0))


@pytest.mark.parametrize(
    ("change", "reason", "fault"),
    [
        ({("p", FIRST, "candidate"): (9, 0)}, "counts 9 decisions of the candidate, 10", "both"),
        ({("p", FIRST, "candidate"): (0, 0)}, "counts 0 decisions of the candidate", "candidate"),
        ({("p", SECOND_BLOCK, "stable"): (0, 0)}, "10 decisions of the candidate, 0", "stable"),
        ({("p", FIRST, "stable"): (8, 2)}, "awaits 2 outcomes", "stable"),
        ({("p", FIRST, arm): (9, 1) for arm in ("stable", "candidate")}, "awaits 2", "both"),
    ],
)
def test_arms_that_do_not_count_the_same_are_waited_for_then_left_out(
    change: dict[Cell, tuple[int, int]], reason: str, fault: str
) -> None:
    blocks = filled("p", "q", change=change)
    assert judge(blocks, SOON, "p", "q") is None
    point = judge(blocks, LATE, "p", "q")
    assert reason in point.left_out
    assert point.left_out.startswith("process p ")
    assert point.fault == fault


def test_what_is_in_flight_counts_into_the_ratio() -> None:
    both = {("p", FIRST, "stable"): (8, 2), ("p", FIRST, "candidate"): (9, 1)}
    blocks = filled("p", change=both)
    assert "awaits 3 outcomes" in judge(blocks, LATE, "p").left_out
    for arm in ("stable", "candidate"):
        blocks.put(Report("p", "a", FIRST, arm, Arm(10, 1.0), 0, 0))
    assert judge(blocks, LATE, "p").left_out == ""


def test_a_block_without_lookups_takes_from_no_arm() -> None:
    quiet = {("p", FIRST, arm): (0, 0) for arm in ("stable", "candidate")}
    point = judge(filled("p", "q", change=quiet), SOON, "p", "q")
    assert (point.left_out, point.stable.count, point.candidate.count) == ("", 30, 30)


def test_silence_of_all_is_no_data_and_no_tie() -> None:
    quiet = {
        ("p", block, arm): (0, 0)
        for block in (FIRST, SECOND_BLOCK)
        for arm in ("stable", "candidate")
    }
    blocks = filled("p", change=quiet)
    assert judge(blocks, SOON, "p") is None
    point = judge(blocks, LATE, "p")
    assert (point.left_out, point.fault) == ("no report", "both")


def test_a_process_that_fell_silent_is_at_fault_for_both_arms() -> None:
    blocks = filled("p")
    blocks.heard("p", ENDED - 1)
    point = judge(blocks, LATE, "p")
    assert (point.left_out, point.fault) == ("process p fell silent before the end", "both")


def test_an_exclusion_hits_both_arms() -> None:
    point = judge(filled("p"), SOON, "p")
    gap = Exclusion(FIRST * SECOND, FIRST * SECOND + 1, "deploy")
    assert excluded(point, DESIGN, [gap]).fault == "both"


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2), st.integers(0, 2)),
        min_size=4,
        max_size=4,
    )
)
def test_a_pair_counts_exactly_when_every_process_counts_alike(
    cells: list[tuple[int, int, int, int]],
) -> None:
    places = [(p, block) for p in ("p", "q") for block in (FIRST, SECOND_BLOCK)]
    change = {}
    for place, (stable, candidate, late, later) in zip(places, cells, strict=True):
        change[*place, "stable"] = (stable, late)
        change[*place, "candidate"] = (candidate, later)
    point = judge(filled("p", "q", change=change), LATE, "p", "q")
    even = all(one + late == other + later for one, other, late, later in cells)
    resolved = not any(late or later for _, _, late, later in cells)
    some = any(one + late for one, _, late, _ in cells)
    assert (point.left_out == "") == (even and resolved and some)
    if not point.left_out:
        assert point.stable.count == point.candidate.count > 0


def miss(effect: float, noise: float = 0.02, seed: int = 1) -> Callable[[str, int], float]:
    """Return miss ratios of blocks where the candidate changes them by a factor."""
    rng = random.Random(seed)

    def mean(arm: str, block: int) -> float:
        level = 0.3 + 0.1 * (block % 3)
        return level * (1.0 + effect * (arm == "candidate")) * rng.lognormvariate(0.0, noise)

    return mean


def test_a_better_candidate_becomes_stable(paired: Any) -> None:
    rollout = paired.ship()
    assert paired.run(20, miss(-0.15), until="CANARY") == "CANARY"
    manifest = paired.processes[0].manifest
    assert manifest.weight == 0.5
    assert paired.run(120, miss(-0.15), until="FULL") == "FULL"
    assert paired.run(20, miss(-0.15), until="STABLE") == "STABLE"
    state = paired.control.get(rollout)
    assert [process.manifest.stable for process in paired.processes] == [state.plan.candidate] * 2
    assert state.plan.paired
    assert state.plan.rails == ()
    causes = [made.cause for made in state.transitions]
    assert not any("guardrail" in cause for cause in causes)
    created = paired.ledger.list(kind="rollout.created")[0].body
    assert created["arms"] == "paired"
    assert paired.ledger.verify().ok


def test_every_pair_is_judged_at_a_small_weight_too(paired: Any) -> None:
    paired.ship(replace(RAMP, weights=(0.1, 1.0)))
    paired.run(20, miss(0.0), until="CANARY")
    paired.run(24, miss(0.0))
    pairs = [point.pair for point in paired.control.get().points]
    assert len(pairs) >= 4
    assert pairs == list(range(pairs[0], pairs[0] + len(pairs)))


def test_a_worse_candidate_is_taken_back(paired: Any) -> None:
    paired.ship()
    assert paired.run(120, miss(0.2), until="ABORTED") == "ABORTED"
    assert paired.processes[1].manifest.stable == "incumbent"


def test_equal_policies_tie_and_the_incumbent_stays(paired: Any) -> None:
    paired.ship(replace(RAMP, max_pairs=12))
    assert paired.run(120, miss(0.0, noise=0.0), until="HOLD") == "HOLD"
    state = paired.control.get()
    assert set(state.evidence.differences) == {0.0}
    assert state.evidence.better.log_e == state.evidence.gains.log_e == 0.0
    assert "inconclusive: no decision after 12 pairs; the incumbent stays" in (
        state.transitions[-1].cause
    )


def test_a_service_that_counts_one_arm_differently_is_never_promoted(paired: Any) -> None:
    process = paired.processes[0]
    honest = process.blocks

    def short(*given: Any, **also: Any) -> Any:
        reports = honest(*given, **also)
        for report in reports:
            if report.arm == "candidate":
                report.count -= 1
                report.ClearField("histogram")
        return reports

    process.blocks = short
    paired.ship()
    assert paired.run(200, miss(-0.3), until="HOLD") == "HOLD"
    assert "were left out, more than a fifth" in paired.control.get().transitions[-1].cause
    assert "counts 49 decisions of the candidate, 50 of stable" in (
        paired.control.get().points[0].left_out
    )
    assert paired.control.get().evidence.pairs == 0


def test_a_restart_in_mid_canary_loses_nothing(paired: Any) -> None:
    paired.ship()
    paired.run(20, miss(-0.15), until="CANARY")
    paired.run(10, miss(-0.15))
    before = paired.control.get()
    paired.restart()
    assert paired.control.get() == before
    assert paired.run(120, miss(-0.15), until="STABLE") == "STABLE"


def test_a_rollout_without_guardrails_can_be_shown(paired: Any) -> None:
    paired.ship()
    paired.run(30, miss(-0.1))
    control = paired.control
    message = views.rollout(control.get(), control.epoch("router.pick"), control.clients())
    assert not message.evidence.guardrails
    shown = Rollout.of(message)
    assert "guardrail" not in str(shown)
    assert f"{message.evidence.pairs} count" in str(shown)
    assert message.evidence.pairs > 0
    assert shown.as_json()["evidence"]["guardrails"] in ([], ())


RAMP = Ramp(
    block_s=2.0,
    burn_in_s=0.2,
    skew_s=0.1,
    min_pairs=8,
    max_pairs=40,
    shadow_decisions=100,
    soak_s=5.0,
    lease_s=15.0,
)


@pytest.mark.parametrize(("arms", "rate"), [("paired", 0.05), ("switchback", 0.1)])
@pytest.mark.parametrize("asked", [None, 0.3])
def test_the_share_of_live_shadow_is_the_kinds_unless_asked(
    paired: Any, arms: Any, rate: float, asked: float | None
) -> None:
    kind = replace(paired.publisher.kind, arms=arms)
    bundle = paired.publisher.bundle().payload
    ramp = replace(RAMP, shadow_rate=asked)
    plan = read_plan(build_plan(ramp, bundle, kind, paired.publisher.rollout.public_key(), 0))
    assert plan.shadow_rate == (rate if asked is None else asked)
    assert plan.paired == (arms == "paired")


def test_a_service_whose_kind_has_other_arms_refuses_the_plan(paired: Any) -> None:
    """The same name and version of a kind, edited since: what it sums would be read wrongly."""
    for process in paired.processes:
        process.policy.kind = replace(process.policy.kind, arms="switchback")
    paired.ship()
    state = paired.control.get()
    assert state.status == "HOLD"
    assert "ramp plan's arms are paired, kind 'memo' here has switchback arms" in (
        state.transitions[-1].cause
    )
    assert "\n" not in state.transitions[-1].cause


def test_at_full_weight_all_keys_are_the_candidates(paired: Any) -> None:
    paired.ship()
    paired.run(200, miss(-0.3), until="FULL")
    policy = paired.processes[0].policy
    assert policy.guard.current.manifest.phase == policy_pb2.PHASE_FULL
    design = policy._switchback(policy.guard.current.manifest, policy.guard.current.plan)
    assert (design.weight, design.paired) == (1.0, True)


class Ghosted:
    """A measure of a cell and its ghost: both look up the same, the ghost misses more."""

    def __init__(self, report: Callable[..., delivery_pb2.BlockReport]) -> None:
        self._report = report
        self._design: Switchback | None = None
        self._first = 0
        self.designs: list[Switchback] = []

    def follow(self, switchback: Switchback | None, epoch: int, time_ns: int) -> None:
        self._design = switchback
        if switchback is not None:
            self.designs.append(switchback)
            self._first = switchback.block(time_ns) + 1

    def add(self, record: Any) -> None:
        raise AssertionError("a ghost counts by itself and is given no records")

    def reports(self) -> list[delivery_pb2.BlockReport]:
        design = self._design
        if design is None:
            return []
        arms = (
            (("candidate", 0.2),) if design.weight == 1.0 else (("candidate", 0.2), ("stable", 0.3))
        )
        blocks = range(self._first, design.block(time.time_ns()))
        return [
            self._report(design.cell, b, arm, miss + b % 5 / 100)
            for b in blocks
            for arm, miss in arms
        ]

    def slices(self) -> None:
        """Have none."""

    def block_end_ns(self, time_ns: int) -> int | None:
        design = self._design
        return (design.block(time_ns) + 1) * design.block_ns if design else None


class Cached:
    """A hook of a kind that the product has never heard of, with both arms at work."""

    broken: ClassVar[dict[str, int]] = {}

    breaker = ""
    killed = ""
    has_outcomes = True
    measure: Any = None

    def __init__(self, kind: Kind, report: Callable[..., delivery_pb2.BlockReport]) -> None:
        self.name, self.kind, self._report = "router.pick", kind, report
        self.assignments: list[Assignment] = []
        self._asked = 0

    @property
    def counters(self) -> dict[str, int]:
        self._asked += 10
        shadow = self.assignments and self.assignments[-1].phase == "shadow"
        return {"decisions": self._asked, "shadow_decisions": self._asked if shadow else 0}

    def new_measure(self) -> Ghosted:
        self.own = Ghosted(self._report)
        return self.own

    def install(self, assignment: Assignment) -> None:
        self.assignments.append(assignment)


def test_an_unknown_paired_kind_goes_over_the_wire_to_stable(
    tmp_path: Path, paired: Any, report: Any
) -> None:
    """The real server and the real delivery client; only the caches are made up."""
    publisher = paired.publisher
    anchor = publisher.key.public_key()
    running = Running(
        ServerSettings("127.0.0.1:0", tmp_path / "plane", publisher.rollout, (anchor,))
    )
    hooks = [Cached(publisher.kind, report) for _ in range(2)]
    peer = Peer(running.address)
    clients = [
        DeliveryClient(
            lambda hook=hook: [hook],
            Settings(peer, "shop", Anchors((anchor,)), "a", report_interval_s=0.05),
            lambda number=number: f"{number:016x}",
        )
        for number, hook in enumerate(hooks)
    ]
    try:
        for client in clients:
            client.start()
        with RolloutClient(running.address) as orders:
            bundle = publisher.bundle()
            ramp = replace(QUICK, weights=(0.2, 1.0))
            found = orders.create(bundle, publisher.plan(bundle, time.time_ns(), ramp), "ci")
            final = follow(orders, found.id, lambda now: None)
            assert rollouts_pb2.State.Name(final.state) == "STABLE", final.transitions
            assert orders.verify().ok
    finally:
        for client in clients:
            client.stop()
        running.stop()
    assert final.evidence.candidate_decisions == final.evidence.stable_decisions > 0
    for hook in hooks:
        phases = [assignment.phase for assignment in hook.assignments]
        assert [phase for phase, _ in groupby(phases)][:3] == ["shadow", "canary", "full"]
        weights = {(design.paired, design.weight) for design in hook.own.designs}
        assert weights == {(True, 0.2), (True, 1.0)}
