"""After the promotion, over the control plane's core: drift and expiry, fresh verdicts, restarts, silence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gnomon.policies.rollout.shipping import Ramp
from gnomon.sdk import dsse, keys
from gnomon.sdk.bundle import build_bundle, read_bundle
from gnomon.sdk.errors import RolloutError, TrustError
from gnomon.sdk.language import check
from gnomon.v1 import delivery_pb2, policy_pb2, rollouts_pb2

from .conftest import HOOK, RAMP, SECOND, Publisher, World
from .test_control import BETTER

DAY = 86_400.0
SHORT = replace(
    RAMP, shadow_decisions=0, expires_s=90 * DAY, grace_s=60.0, drift_window_s=40.0, drift_windows=2
)
SAME, MOVED = (50, 50, 50, 50), (5, 5, 90, 100)


def profile(until_ns: int) -> policy_pb2.Profile:
    feature = policy_pb2.FeatureProfile(
        name="inflight", edges=[1.0, 2.0, 3.0], shares=[0.25, 0.25, 0.25, 0.25]
    )
    return policy_pb2.Profile(
        trace="t" * 64, features=[feature], decisions=10_000, until_unix_ns=until_ns
    )


class Profiled(Publisher):
    """A publisher whose bundles hold a profile."""

    def bundle(self, source: str = "", calibration: str = "c1") -> policy_pb2.Envelope:
        names = self.kind.input_names
        source = source or f"def score({', '.join(names)}):\n    return {names[0]}\n"
        payload = build_bundle(
            check(source, names), HOOK, self.kind, "e" * 64, {"calibration": calibration},
            profile=profile(1_690_000_000 * SECOND),
        )  # fmt: skip
        return dsse.sign(dsse.BUNDLE_TYPE, payload, self.key)


@pytest.fixture
def profiled(tmp_path: Path, publisher: Publisher) -> Iterator[World]:
    """A control plane with two processes; what is shipped holds a profile."""
    made = World(tmp_path, Profiled(publisher.key, publisher.rollout))
    made.join("aa")
    made.join("bb")
    yield made
    made.close()


class Traffic:
    """What the processes count, cumulatively as real ones do."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.counts = {process.instance: [0, 0, 0, 0] for process in world.processes}

    def run(self, seconds: float, shares: tuple[int, ...]) -> None:
        """Let time pass with this distribution of the feature; reports every five seconds."""
        for _ in range(round(seconds / 5)):
            self.world.clock.pass_s(5.0)
            for process in self.world.processes:
                counts = self.counts.setdefault(process.instance, [0, 0, 0, 0])
                for index, share in enumerate(shares):
                    counts[index] += share // 2
                report = process.report()
                report.features.append(delivery_pb2.FeatureCounts(name="inflight", counts=counts))
                self.world.control.report(process.instance, report)
            self.world.control.tick()


def promote(world: World, ramp: Ramp = SHORT, **options: str) -> str:
    rollout = world.ship(ramp, **options)
    assert world.run(5, BETTER, until="CANARY") == "CANARY"
    world.control.act(rollout, "promote", "op", "to see what follows", "")
    assert world.run(30, BETTER, until="STABLE") == "STABLE"
    return rollout


def kinds(world: World) -> list[str]:
    return [entry.kind for entry in world.ledger.list() if "reverif" in entry.kind]


def reverification(world: World, until_ns: int, **changes: Any) -> policy_pb2.Envelope:
    state = world.control.get()
    source = read_bundle(world.publisher.bundle().payload).source
    said = rollouts_pb2.Reverification(
        hook=HOOK,
        policy=state.stable,
        source_digest=hashlib.sha256(source.encode()).hexdigest(),
        evidence_digest="f" * 64,
        profile=profile(until_ns),
    )
    key = changes.pop("key", world.publisher.key)
    for name, value in changes.items():
        setattr(said, name, value)
    return dsse.sign(dsse.REVERIFICATION_TYPE, said.SerializeToString(), key)


def drifted(world: World) -> Traffic:
    promote(world)
    traffic = Traffic(world)
    traffic.run(41, SAME)
    traffic.run(90, MOVED)
    watch = world.control.get().watch
    assert watch is not None
    assert watch.notice is not None
    assert watch.notice.cause == "drifted"
    return traffic


def test_traffic_that_moves_raises_a_notice_and_then_the_incumbent_is_back(profiled: World) -> None:
    traffic = drifted(profiled)
    assert profiled.status == "STABLE"
    entry = profiled.ledger.list(kind="rollout.reverification_due")[0]
    assert entry.body["cause"] == "drifted"
    assert entry.body["index"]["inflight"] > 0.25
    profiled.restart()
    assert kinds(profiled) == ["rollout.reverification_due"]
    traffic.run(70, MOVED)
    assert profiled.status == "ABORTED"
    assert profiled.control.get().transitions[-1].cause.startswith("drifted: ")
    assert {process.manifest.stable for process in profiled.processes} == {"incumbent"}
    assert not any(process.manifest.kill for process in profiled.processes)
    epochs = profiled.processes[0].manifest.epoch
    traffic.run(30, MOVED)
    assert profiled.processes[0].manifest.epoch == epochs
    assert profiled.ledger.verify().ok
    assert profiled.ship(SHORT)  # against the incumbent again


def test_a_fresh_verdict_answers_the_notice(profiled: World) -> None:
    traffic = drifted(profiled)
    envelope = reverification(profiled, profiled.clock.now)
    profiled.control.reverify(envelope, "ci")
    profiled.control.reverify(envelope, "ci")  # the same again changes nothing
    profiled.restart()
    profiled.control.reverify(envelope, "ci")
    assert kinds(profiled) == ["rollout.reverification_due", "rollout.reverified"]
    entry = profiled.ledger.list(kind="rollout.reverified")[0]
    assert (entry.actor, entry.body["evidence_digest"]) == ("ci", "f" * 64)
    traffic.run(300, MOVED)  # its first window is of this traffic
    assert profiled.status == "STABLE"
    assert kinds(profiled)[2:] == []


def test_expiry_without_traffic_and_with_a_restart_on_the_last_day(profiled: World) -> None:
    promote(profiled)
    profiled.clock.pass_s(90 * DAY + 1)
    profiled.restart()
    profiled.control.tick()
    assert kinds(profiled) == ["rollout.reverification_due"]
    profiled.clock.pass_s(61)
    profiled.restart()
    profiled.control.tick()
    profiled.control.tick()
    assert profiled.status == "ABORTED"
    assert "90 days old" in profiled.control.get().transitions[-1].cause


def test_the_rule_keep_only_says_so(profiled: World) -> None:
    promote(profiled, replace(SHORT, then="keep"))
    profiled.clock.pass_s(1000 * DAY)
    for _ in range(5):
        profiled.control.tick()
        profiled.clock.pass_s(1000.0)
    assert profiled.status == "STABLE"
    assert kinds(profiled) == ["rollout.reverification_due"]


def test_the_same_traffic_from_any_number_of_processes_raises_nothing(profiled: World) -> None:
    promote(profiled)
    traffic = Traffic(profiled)
    traffic.run(100, SAME)
    late = profiled.join("cc")
    traffic.counts["cc"] = [0, 0, 0, 10**6]  # what it had counted before nobody knows
    traffic.run(50, SAME)
    traffic.counts["aa"] = [0, 0, 0, 0]  # began anew
    profiled.restart()
    traffic.run(200, SAME)
    watch = profiled.control.get().watch
    assert late.manifest.stable == profiled.control.get().stable
    assert watch is not None
    assert watch.calm >= 5
    assert (watch.notice, watch.over) == (None, 0)
    assert watch.indices[0].value < 0.1


def test_counts_by_another_profile_or_of_another_epoch_are_ignored(profiled: World) -> None:
    promote(profiled)
    process = profiled.processes[0]
    for counts, epoch in (([1] * 3, 0), ([10**9] * 4, 1), ([1 << 60] * 4, 0)):
        for times in (1, 2):
            report = process.report()
            report.epoch -= epoch
            feature = delivery_pb2.FeatureCounts(
                name="inflight", counts=[n * times for n in counts]
            )
            report.features.append(feature)
            profiled.control.report(process.instance, report)
    profiled.clock.pass_s(50)
    profiled.control.tick()
    watch = profiled.control.get().watch
    assert watch is not None
    assert (watch.counts, watch.indices) == ((), ())


def test_a_bundle_without_a_profile_expires_and_is_not_watched(world: Any) -> None:
    promote(world)
    watch = world.control.get().watch
    assert "no profile" in watch.unwatched
    Traffic(world).run(100, MOVED)
    assert world.control.get().watch.indices == ()
    world.clock.pass_s(90 * DAY)
    world.control.tick()
    assert kinds(world) == ["rollout.reverification_due"]


def test_a_later_rollout_that_ends_badly_leaves_the_policy_before_under_watch(
    profiled: World,
) -> None:
    promote(profiled)
    first = profiled.control.get().stable
    source = "def score(inflight):\n    return inflight + 1.0\n"
    profiled.ship(SHORT, source=source, stable=first, calibration="c2")
    profiled.control.act(profiled.control.get().plan.id, "abort", "op", "", "")
    assert profiled.control.get().stable == first
    profiled.clock.pass_s(90 * DAY + 1)
    profiled.control.tick()
    profiled.clock.pass_s(61)
    profiled.control.tick()
    assert profiled.control.get().stable == "incumbent"
    assert {process.manifest.stable for process in profiled.processes} == {"incumbent"}


REFUSED = (
    (-500, {}, "ends [0-9]+ s before what it has to answer"),
    (500, {}, "ahead of this control plane"),
    (0, {"policy": "d" * 64}, "in force is"),
    (0, {"source_digest": "d" * 64}, "is on source"),
    (0, {"evidence_digest": ""}, "is on source"),
    (0, {"hook": "other"}, "'other' has no rollout"),
)


def test_what_answers_nothing_is_refused(profiled: World) -> None:
    drifted(profiled)
    for late, changes, why in REFUSED:
        envelope = reverification(profiled, profiled.clock.now + late * SECOND, **changes)
        with pytest.raises(RolloutError, match=why):
            profiled.control.reverify(envelope, "ci")
    assert kinds(profiled) == ["rollout.reverification_due"]


def test_only_a_publisher_can_answer_and_only_with_the_real_thing(profiled: World) -> None:
    drifted(profiled)
    stranger = reverification(profiled, profiled.clock.now, key=keys.generate())
    with pytest.raises(TrustError):
        profiled.control.reverify(stranger, "mallory")
    with pytest.raises(TrustError, match="payload type"):
        profiled.control.reverify(profiled.publisher.bundle(), "mallory")
    broken = dsse.sign(dsse.REVERIFICATION_TYPE, b"\xff\xff", profiled.publisher.key)
    with pytest.raises(TrustError, match="no reverification"):
        profiled.control.reverify(broken, "mallory")


def test_while_a_rollout_runs_no_verdict_is_taken(profiled: World) -> None:
    profiled.ship(SHORT)
    envelope = reverification(profiled, profiled.clock.now)
    with pytest.raises(RolloutError, match="once it has ended"):
        profiled.control.reverify(envelope, "ci")
