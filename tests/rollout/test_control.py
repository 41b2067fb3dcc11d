"""The control plane's core against processes that verify everything as real ones do."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gnomon.policies.rollout.blocks import Exclusion
from gnomon.policies.rollout.desk import Desk
from gnomon.sdk import keys
from gnomon.sdk.errors import RolloutError, TrustError
from gnomon.v1 import delivery_pb2, policy_pb2

SECOND = 1_000_000_000


def effect_of(effect: float, noise: float = 0.02, seed: int = 1) -> Callable[[str, int], float]:
    """Return block means where the candidate changes the objective by a factor."""
    rng = random.Random(seed)

    def mean(arm: str, block: int) -> float:
        del block
        return 50.0 * (1.0 + effect * (arm == "candidate")) * rng.lognormvariate(0.0, noise)

    return mean


BETTER, WORSE, EQUAL = effect_of(-0.12), effect_of(0.2), effect_of(0.0)


def test_a_better_candidate_becomes_stable(world: Any) -> None:
    rollout = world.ship()
    assert world.status == "SHADOW"
    assert world.processes[0].manifest.phase == policy_pb2.PHASE_SHADOW
    assert world.run(20, BETTER, until="CANARY") == "CANARY"
    assert world.processes[0].manifest.weight == 0.5
    assert world.run(120, BETTER, until="FULL") == "FULL"
    assert world.run(20, BETTER, until="STABLE") == "STABLE"
    state = world.control.get(rollout)
    assert [process.manifest.stable for process in world.processes] == [state.plan.candidate] * 2
    assert state.evidence.effect().high < 0.0
    assert state.calibration == "confirmed"
    kinds = [entry.kind for entry in world.ledger.list(kind="rollout")]
    assert kinds == ["rollout.created", *["rollout.transition"] * 4, "rollout.calibration"]
    created = world.ledger.list(kind="rollout.created")[0].body
    signer = {keys.keyid(world.publisher.key.public_key()): "ci.pub"}
    assert (created["bundle_signed_by"], created["plan_signed_by"]) == (signer, signer)
    assert world.ledger.verify().ok


def test_a_worse_candidate_is_taken_back_and_blocks_the_simulator(world: Any, ramp: Any) -> None:
    world.ship()
    assert world.run(120, WORSE, until="ABORTED") == "ABORTED"
    assert world.processes[1].manifest.candidate == ""
    assert world.processes[1].manifest.stable == "incumbent"
    assert world.control.get().calibration == "recalibration required"
    with pytest.raises(RolloutError, match="recalibration required"):
        world.ship(ramp)
    with pytest.raises(RolloutError, match="recalibrate the simulator first"):
        world.control.act("", "retry", "op", "", "")
    assert world.ship(ramp, calibration="c2")


def test_a_refuted_simulator_stays_refuted_behind_later_rollouts(world: Any, ramp: Any) -> None:
    world.ship()
    assert world.run(120, WORSE, until="ABORTED") == "ABORTED"
    later = world.ship(ramp, calibration="c2")
    world.control.act(later, "abort", "op", "", "")
    assert world.control.get(later).calibration == "not measured"
    with pytest.raises(RolloutError, match="recalibration required"):
        world.ship(ramp, calibration="c1")
    world.restart()
    with pytest.raises(RolloutError, match="recalibration required"):
        world.ship(ramp, calibration="c1")
    assert world.ship(ramp, calibration="c3")


def test_recalibration_can_be_recorded_by_hand(world: Any) -> None:
    rollout = world.ship()
    world.run(120, WORSE, until="ABORTED")
    world.control.act(rollout, "recalibrated", "op", "new trace", "")
    assert world.control.get(rollout).calibration == "not measured"
    assert world.ship() != rollout


def test_an_equal_candidate_never_takes_over(world: Any) -> None:
    world.ship()
    assert world.run(400, EQUAL, until="HOLD") == "HOLD"
    state = world.control.get()
    assert "the incumbent stays" in state.transitions[-1].cause
    assert world.processes[0].manifest.candidate == ""


def test_no_data_is_held_not_promoted(world: Any) -> None:
    world.ship()
    world.run(20, BETTER, until="CANARY")
    for _ in range(2000):
        world.clock.pass_s(0.25)
        world.control.tick()
        if world.status != "CANARY":
            break
    assert world.status == "HOLD"
    assert "left out" in world.control.get().transitions[-1].cause


def test_full_weight_without_decisions_is_held(world: Any, ramp: Any) -> None:
    world.ship(replace(ramp, shadow_decisions=0))
    world.run(120, BETTER, until="FULL")
    for _ in range(40):
        world.clock.pass_s(0.25)
        world.control.tick()
    assert world.status == "HOLD"
    assert "no decision was reported" in world.control.get().transitions[-1].cause


def test_failures_at_full_weight_abort(world: Any, ramp: Any) -> None:
    world.ship(replace(ramp, shadow_decisions=0, soak_s=60.0))
    world.run(120, BETTER, until="FULL")
    assert world.run(60, BETTER, until="ABORTED", failures=10) == "ABORTED"
    assert "failed at full weight" in world.control.get().transitions[-1].cause


def test_faults_in_the_live_shadow_abort(world: Any) -> None:
    world.ship()
    world.processes[0].shadow.update(faults=5, decisions=20)
    assert world.run(10, BETTER, until="ABORTED") == "ABORTED"
    assert "5 faults" in world.control.get().transitions[-1].cause


def test_shadow_counts_of_an_earlier_attempt_do_not_count(world: Any) -> None:
    world.processes[0].shadow.update(decisions=10_000, faults=50)
    world.control.report("aa", world.processes[0].report())
    world.ship()
    assert world.run(0.5, BETTER) == "SHADOW"
    assert world.control.get().shadow.faults == 0


def test_a_refusing_process_holds_the_rollout(world: Any) -> None:
    stranger = world.join("cc")
    stranger.policy._anchors = replace(
        stranger.policy._anchors, publishers=(keys.generate().public_key(),)
    )
    stranger.policy.guard._anchors = stranger.policy._anchors
    world.ship()
    assert world.status == "HOLD"
    assert "process cc refused the bundle" in world.control.get().transitions[-1].cause
    assert "cc" in {seat.instance for seat in world.control.clients() if seat.error}
    assert [e.subject for e in world.ledger.list(kind="delivery.refused")] != []


def test_a_breaker_aborts_everywhere(world: Any) -> None:
    world.ship()
    world.run(20, BETTER, until="CANARY")
    world.processes[0].breaker = "8 faults in 100 decisions"
    assert world.run(1, BETTER, until="ABORTED") == "ABORTED"
    assert world.processes[1].manifest.candidate == ""
    assert "process aa took the candidate back" in world.control.get().transitions[-1].cause


def test_a_process_that_was_killed_by_hand_is_shown_and_accounted_for(world: Any) -> None:
    world.ship()
    world.run(20, BETTER, until="CANARY")
    process = world.processes[0]
    process.killed = "killed (file) by ann: pages are slow"
    for _ in range(2):
        world.control.report("aa", process.report())
    assert {s.instance: s.killed for s in world.control.clients()}["aa"] == process.killed
    process.killed = ""
    world.control.report("aa", process.report())
    (told,) = world.ledger.list(kind="delivery.killed")
    assert (told.actor, told.subject) == ("aa", "router.pick")
    assert "pages are slow" in str(told.body)
    assert len(world.ledger.list(kind="delivery.unkilled")) == 1


def test_exclusions_reach_pairs_that_were_judged(world: Any) -> None:
    world.ship()
    world.run(20, BETTER, until="CANARY")
    world.run(20, BETTER)
    before = world.control.get()
    point = before.points[0]
    start = 2 * point.pair * before.plan.block_ns
    blocks = world.control.exclude(
        "router.pick", Exclusion(start, start + 1, "generator lag"), "generator"
    )
    after = world.control.get()
    assert blocks == 1
    assert after.evidence.pairs == before.evidence.pairs - 1
    assert after.points[0].left_out == "excluded: generator lag"
    assert world.ledger.list(kind="rollout.exclusion")[0].actor == "generator"


def test_exclusions_of_one_arm_only_are_held(world: Any) -> None:
    world.ship()
    world.run(20, BETTER, until="CANARY")
    state = world.control.get()
    design = state.plan.switchback(state.salt, "a", 0.5)
    block_ns = state.plan.block_ns
    for _ in range(60):
        world.run(1, EQUAL)
        if world.status != "CANARY":
            break
        block = world.clock.now // block_ns - 1
        if design.candidate(block):
            gap = Exclusion(block * block_ns, (block + 1) * block_ns, "lag")
            world.control.exclude("router.pick", gap, "generator")
    assert world.status == "HOLD"
    assert "left out" in world.control.get().transitions[-1].cause


def test_a_restart_loses_and_repeats_nothing(world: Any) -> None:
    rollout = world.ship()
    world.run(20, BETTER, until="CANARY")
    world.run(15, BETTER)
    before, entries = world.control.get(rollout), world.ledger.list()
    epoch = world.control.epoch("router.pick")
    world.restart()
    assert world.control.get(rollout) == before
    assert world.control.epoch("router.pick") == epoch
    assert world.ledger.list() == entries
    assert world.run(120, BETTER, until="STABLE") == "STABLE"
    assert world.ledger.verify().ok


def test_a_restart_waits_for_what_processes_measured_meanwhile(world: Any) -> None:
    world.ship()
    world.run(20, BETTER, until="CANARY")
    world.run(8, BETTER)
    processes, world.processes = world.processes, []
    world.clock.pass_s(12.0)  # the lease is 15 s: the arms go on by turns
    world.restart()
    for _ in range(40):  # nobody is connected yet
        world.clock.pass_s(0.25)
        world.control.tick()
    assert not any(point.left_out for point in world.control.get().points)
    world.processes = processes
    for process in processes:
        world.greet(process)
    world.control.report("aa", processes[0].report(measured(world, processes[0])))
    world.control.report("bb", processes[1].report(measured(world, processes[1])))
    world.run(1, BETTER)
    points = world.control.get().points
    assert [point.left_out for point in points] == [""] * len(points)
    assert (2 * points[-1].pair + 2) * 2 * SECOND > world.clock.now - 6 * SECOND  # to the end


def measured(world: Any, process: Any) -> list[delivery_pb2.BlockReport]:
    """Return all blocks since a process's last report; it keeps them while nobody listens."""
    first, last = process.reported, world.clock.now // (2 * SECOND)
    return [
        report
        for block in range(first, last)
        for report in process.blocks((block + 1) * 2 * SECOND, BETTER)
    ]


def test_a_restart_does_not_wait_for_ever(world: Any) -> None:
    world.ship()
    world.run(20, BETTER, until="CANARY")
    world.run(8, BETTER)
    world.processes = []
    world.clock.pass_s(12.0)
    world.restart()
    for _ in range(80):
        world.clock.pass_s(0.25)
        world.control.tick()
    assert any("no report" in point.left_out for point in world.control.get().points)


def test_a_crash_before_the_ledger_is_made_good(world: Any, monkeypatch: Any) -> None:
    world.ship()
    monkeypatch.setattr(world.control._backlog, "account", lambda: None)
    world.run(20, BETTER, until="CANARY")
    known = len(world.ledger.list())
    world.restart()
    later = [e for e in world.ledger.list()[known:] if e.kind == "rollout.transition"]
    assert [entry.body["to"] for entry in later] == ["CANARY"]
    known = len(world.ledger.list())
    world.restart()
    assert len(world.ledger.list()) == known


def test_the_lease_is_renewed_without_a_new_epoch(world: Any) -> None:
    world.ship()
    process = world.processes[0]
    epoch, issued = process.manifest.epoch, process.manifest.issued_unix_ns
    world.clock.pass_s(6)
    world.control.tick()
    assert process.manifest.epoch == epoch
    assert process.manifest.issued_unix_ns > issued


def test_a_process_that_has_seen_more_lifts_the_epoch(world: Any) -> None:
    world.ship()
    ahead = world.join("dd")
    hello = ahead.session.hello().hello
    hello.hooks[0].epoch = 41
    world.control.hello(hello.node, hello.hooks)
    assert world.control.epoch("router.pick") == 42
    assert world.processes[0].manifest.epoch == 42


def test_orders_are_idempotent_by_request(world: Any) -> None:
    rollout = world.ship()
    world.control.act(rollout, "hold", "op", "lunch", "r1")
    world.control.act(rollout, "resume", "op", "", "r2")
    world.control.act(rollout, "hold", "op", "lunch", "r1")
    assert world.status == "SHADOW"


def test_promotion_by_hand_is_an_override_in_the_ledger(world: Any) -> None:
    rollout = world.ship()
    world.run(20, BETTER, until="CANARY")
    with pytest.raises(RolloutError, match="needs a reason"):
        world.control.act(rollout, "promote", "op", "", "")
    world.control.act(rollout, "promote", "op", "incident 7", "")
    entry = world.ledger.list(kind="rollout.override")[0]
    assert (entry.actor, entry.body["cause"]) == ("op", "incident 7")
    assert entry.body["order"] == "promote"
    assert world.processes[0].manifest.phase == policy_pb2.PHASE_FULL


def test_the_ledger_says_which_order_it_was(world: Any) -> None:
    rollout = world.ship()
    given = ["hold", "resume", "abort", "retry", "kill"]
    for order in given:
        world.control.act(rollout, order, "op", "drill", "")
    made = world.ledger.list(kind="rollout.transition")
    assert [entry.body["order"] for entry in made] == ["", *given]
    assert [entry.actor for entry in made] == ["gnomon", *["op"] * 5]
    assert {entry.body["cause"] for entry in made[1:]} == {"drill"}


@pytest.mark.parametrize("order", ["abort", "kill"])
def test_a_second_withdrawal_says_that_nothing_was_changed(world: Any, order: str) -> None:
    rollout = world.ship()
    world.control.act(rollout, order, "op", "drill", "")
    before = world.control.get(rollout), len(world.ledger.list())
    with pytest.raises(RolloutError, match="nothing was changed"):
        world.control.act(rollout, order, "op", "drill", "")
    assert (world.control.get(rollout), len(world.ledger.list())) == before


def test_a_kill_withdraws_the_stable_policy_too(world: Any, ramp: Any) -> None:
    rollout = world.ship(replace(ramp, shadow_decisions=0))
    world.run(120, BETTER, until="STABLE")
    world.control.act(rollout, "kill", "op", "it burns", "")
    assert world.processes[0].manifest.kill
    assert world.control.get(rollout).stable == "incumbent"
    assert world.ship()


def test_the_next_candidate_goes_against_the_promoted_one(world: Any, ramp: Any) -> None:
    world.ship(replace(ramp, shadow_decisions=0))
    world.run(120, BETTER, until="STABLE")
    stable = world.control.get().plan.candidate
    source = "def score(inflight, since_picked, noise):\n    return inflight + noise\n"
    with pytest.raises(RolloutError, match="is stable"):
        world.ship(ramp, source=source)
    rollout = world.ship(replace(ramp, shadow_decisions=0), source=source, stable=stable)
    world.run(120, WORSE, until="ABORTED")
    assert world.control.get(rollout).stable == stable
    assert world.processes[0].manifest.stable == stable


def test_creating_is_idempotent_and_refuses_what_does_not_fit(world: Any, ramp: Any) -> None:
    bundle = world.publisher.bundle()
    plan = world.publisher.plan(bundle, world.clock.now, ramp, plan_id="r-1")
    first = world.control.create(bundle, plan, "ci")
    assert world.control.create(bundle, plan, "ci") == first
    other = world.publisher.plan(bundle, world.clock.now + 1, ramp, plan_id="r-1")
    with pytest.raises(RolloutError, match="used for another plan"):
        world.control.create(bundle, other, "ci")
    with pytest.raises(RolloutError, match="rollout r-1 of hook"):
        world.ship()
    assert len(world.ledger.list(kind="rollout.refused")) == 2


def test_forged_and_mixed_up_shipments_are_refused(world: Any, publisher: Any, ramp: Any) -> None:
    bundle = publisher.bundle()
    plan = publisher.plan(bundle, world.clock.now, ramp)
    forged = type(publisher)(keys.generate(), publisher.rollout)
    with pytest.raises(TrustError):
        world.control.create(forged.bundle(), plan, "eve")
    with pytest.raises(TrustError):
        world.control.create(bundle, forged.plan(bundle, world.clock.now, ramp), "eve")
    other = publisher.bundle("def score(inflight, since_picked, noise):\n    return -inflight\n")
    with pytest.raises(RolloutError, match="is not the bundle"):
        world.control.create(other, plan, "ci")
    stranger = type(publisher)(publisher.key, keys.generate())
    with pytest.raises(RolloutError, match="rollout key"):
        world.control.create(bundle, stranger.plan(bundle, world.clock.now, ramp), "ci")
    assert world.control.rollouts() == []


def test_an_expired_plan_is_refused(world: Any, ramp: Any) -> None:
    bundle = world.publisher.bundle()
    plan = world.publisher.plan(bundle, world.clock.now, replace(ramp, valid_s=10.0))
    world.clock.pass_s(11)
    with pytest.raises(RolloutError, match="expired"):
        world.control.create(bundle, plan, "ci")


def test_a_running_rollout_ends_with_its_plan(world: Any, ramp: Any) -> None:
    world.ship(replace(ramp, valid_s=10.0, shadow_decisions=10**9))
    assert world.run(20, BETTER, until="HOLD") == "HOLD"
    assert "expired" in world.control.get().transitions[-1].cause


def test_a_broken_ledger_stops_the_start(world: Any) -> None:
    import sqlite3

    world.ship()
    world.close()
    connection = sqlite3.connect(world.folder / "ledger.db")
    connection.execute("drop trigger entries_no_update")
    connection.execute("update entries set actor = 'somebody' where seq = 1")
    connection.commit()
    connection.close()
    with pytest.raises(TrustError, match="entry 1 was changed"):
        world.open()


@pytest.mark.parametrize(
    "change",
    [{"count": 3}, {"failures": 99}, {"sum": float("nan")}, {"sum": -1.0}, {"sum": 1e9}],
)
def test_impossible_reports_do_not_count(world: Any, report: Any, change: dict[str, Any]) -> None:
    world.ship()
    world.run(20, BETTER, until="CANARY")
    state = world.control.get()
    block = (world.clock.now + 10 * SECOND) // state.plan.block_ns
    bad = report("a", block, "stable", 50.0)
    for name, value in change.items():
        setattr(bad, name, value)
    world.control.report("aa", world.processes[0].report([bad]))
    assert world.control._desks["router.pick"].blocks.of("a", block) == []


def test_a_clock_that_is_ahead_wipes_nothing(world: Any, report: Any) -> None:
    world.ship()
    world.run(20, BETTER, until="CANARY")
    world.run(8, BETTER)
    desk, block_ns = world.control._desks["router.pick"], world.control.get().plan.block_ns
    kept = len(desk.blocks.since(0))
    mad = [
        report("a", block, "stable", 50.0) for block in (world.clock.now // block_ns + 2, 1 << 61)
    ]
    world.control.report("aa", world.processes[0].report(mad))
    assert (len(desk.blocks.since(0)), desk.ignored) == (kept, 2)
    assert world.run(120, BETTER, until="STABLE") == "STABLE"


def test_a_ledger_that_fails_for_a_while_misses_nothing(world: Any, monkeypatch: Any) -> None:
    rollout = world.ship()
    append, tries = world.ledger.append, iter([True, True, False])

    def full(*entry: Any) -> Any:
        if next(tries, False):
            raise OSError("no space left on device")
        return append(*entry)

    monkeypatch.setattr(world.ledger, "append", full)
    for action in ("hold", "resume"):
        with pytest.raises(OSError, match="no space"):
            world.control.act(rollout, action, "op", "drill", "")
    world.control.act(rollout, "hold", "op", "drill", "")
    events = [entry.body["event"] for entry in world.ledger.list()]
    assert events == list(range(1, len(events) + 1))
    assert len(world.ledger.list(kind="rollout.transition")) == len(world.control.get().transitions)


def test_the_backlog_is_written_when_nothing_else_happens(world: Any, monkeypatch: Any) -> None:
    rollout = world.ship()
    with monkeypatch.context() as patch:
        patch.setattr(world.control._backlog, "account", lambda: None)
        world.control.act(rollout, "hold", "op", "drill", "")
    known = len(world.ledger.list())
    world.control.tick()
    assert len(world.ledger.list()) == known + 1


def test_a_gap_of_an_earlier_life_is_closed_at_the_start(world: Any, monkeypatch: Any) -> None:
    rollout = world.ship()
    with monkeypatch.context() as patch:
        patch.setattr(world.control._backlog, "account", lambda: None)
        world.control.act(rollout, "hold", "op", "drill", "")
    world.control._backlog._accounted += 1
    world.control.act(rollout, "resume", "op", "drill", "")
    for _ in range(2):
        world.restart()
        events = [entry.body["event"] for entry in world.ledger.list()]
        assert sorted(events) == list(range(1, len(events) + 1))


@pytest.mark.parametrize("epoch", [99, (1 << 63) + 1, (1 << 64) - 1])
def test_an_acknowledgement_of_the_future_is_not_believed(world: Any, epoch: int) -> None:
    world.ship()
    known = world.control.epoch("router.pick")
    mad = delivery_pb2.Ack(resource="manifest", name="router.pick", epoch=epoch, ok=True)
    world.control.ack("aa", mad)
    assert {seat.epoch for seat in world.control.clients()} == {known}
    world.restart()


def test_one_hooks_trouble_keeps_no_other_from_its_renewal(world: Any, monkeypatch: Any) -> None:
    world.ship()
    desks, fleet = world.control._desks, world.control._fleet
    desks._desks = {"a.bad": Desk("a.bad", state=world.control.get()), **desks._desks}
    keep = fleet.keep

    def broken(desk: Any) -> None:
        if desk.hook == "a.bad":
            raise OverflowError("an integer too large")
        keep(desk)

    monkeypatch.setattr(fleet, "keep", broken)
    issued = world.processes[0].manifest.issued_unix_ns
    world.clock.pass_s(6)
    with pytest.raises(OverflowError):
        world.control.tick()
    assert world.processes[0].manifest.issued_unix_ns > issued


def test_a_pair_that_waits_holds_back_later_ones(world: Any) -> None:
    """A process that stays behind with one pair: nothing later is judged before it."""
    world.ship()
    world.run(20, BETTER, until="CANARY")
    world.run(12, BETTER)
    desk, plan = world.control._desks["router.pick"], world.control.get().plan
    patient = replace(plan, deadline_ns=60 * SECOND)
    desk.state = replace(world.control.get(), plan=patient)
    judged = {point.pair for point in world.control.get().points}
    late = max(judged) + 1
    design = plan.switchback(world.control.get().salt, "a", 0.5)
    for block in range(2 * late, 2 * late + 6):
        world.clock.now = (block + 1) * plan.block_ns + SECOND
        for process in world.processes:
            arm = "candidate" if design.candidate(block) else "stable"
            behind = process.instance == "aa" and block == 2 * late
            found = process_report(arm, block, 7 if behind else 0)
            world.control.report(process.instance, process.report([found]))
    world.control.tick()
    assert {point.pair for point in world.control.get().points} == judged
    assert desk.judged(world.clock.now) == ()
    done = process_report("candidate" if design.candidate(2 * late) else "stable", 2 * late, 0)
    world.control.report("aa", world.processes[0].report([done]))
    world.control.tick()
    pairs = [point.pair for point in world.control.get().points]
    assert pairs == sorted(pairs)
    assert pairs[-1] == late + 2


def process_report(arm: str, block: int, unresolved: int) -> delivery_pb2.BlockReport:
    return delivery_pb2.BlockReport(
        cell="a", block=block, arm=arm, count=50, sum=2500.0, unresolved=unresolved
    )


def test_processes_that_left_are_listed_for_a_day(world: Any) -> None:
    world.ship()
    world.control.gone("bb")
    world.clock.pass_s(90_000)
    world.control.tick()
    names = {seat.instance for seat in world.control.clients()}
    assert names == {"aa", "bb"}, "what it counted belongs to the rollout that runs"
    world.control.act(world.control.get().plan.id, "abort", "op", "", "")
    world.control.tick()
    assert [seat.instance for seat in world.control.clients()] == ["aa"]
    assert [row.instance for row in world.store.clients()] == ["aa"]


def test_a_process_that_comes_back_within_the_day_stays(world: Any) -> None:
    world.control.gone("bb")
    world.clock.pass_s(80_000)
    world.greet(world.processes[1])
    world.clock.pass_s(80_000)
    world.control.tick()
    assert len(world.control.clients()) == 2


def test_after_a_restart_the_day_begins_anew(world: Any) -> None:
    world.control.tick()
    world.close()
    world.control = world.open()
    world.clock.pass_s(80_000)
    world.control.tick()
    assert len(world.control.clients()) == 2
    world.clock.pass_s(10_000)
    world.control.tick()
    assert world.control.clients() == []
    assert world.store.clients() == []


def test_a_life_that_begins_after_a_plan_ended_sends_nothing_of_its_trial(world: Any) -> None:
    world.ship()
    assert world.run(60, BETTER, until="CANARY") == "CANARY"
    plan = world.control.get().plan
    world.close()
    world.clock.pass_s((plan.not_after_ns - world.clock.now) / 1e9 + 1.0)
    world.control = world.open()
    assert world.control.pushes("router.pick", ()) == [], "it was greeted before its first turn"
    world.control.tick()
    assert world.status != "CANARY"
    (pushed,) = world.control.pushes("router.pick", ())
    assert not policy_pb2.Manifest.FromString(pushed.manifest.envelope.payload).candidate
