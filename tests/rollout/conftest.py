"""A control plane in a test: keys, a kind, shipped bundles, a clock, and processes that report."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gnomon.policies.rollout.control import Control
from gnomon.policies.rollout.identity import Identity
from gnomon.policies.rollout.ledger import Ledger
from gnomon.policies.rollout.outcomes import Effect
from gnomon.policies.rollout.shipping import Ramp, build_plan, sign_plan
from gnomon.policies.rollout.store import Store
from gnomon.sdk import dsse, keys
from gnomon.sdk.bundle import build_bundle
from gnomon.sdk.kind import Feature, Guardrail, Kind, Metric
from gnomon.sdk.language import check
from gnomon.sdk.manifest import Anchors, Now
from gnomon.sdk.measure import BUCKETS, bucket
from gnomon.sdk.records import Decision, Outcome
from gnomon.sdk.session import HookPolicy, Node, Session
from gnomon.sdk.slices import SliceMeasure
from gnomon.v1 import delivery_pb2, policy_pb2

from .whole import Whole

HOOK = "router.pick"
KIND = Kind(
    "toy",
    1,
    "Picks the shorter queue.",
    (Feature("inflight", "{request}", "Outstanding requests.", 0.0, 100.0, integer=True),),
    Metric("latency_ms", "ms", 1000.0),
    (Guardrail("failures", "latency_ms", "failure_rate", 0.005),),
    outcome_deadline_s=1.0,
)
#: Both arms answer every lookup; nothing in it can fail and it has no guardrails.
PAIRED = Kind(
    "memo",
    3,
    "Picks what a memo forgets.",
    (Feature("idle", "{lookup}", "Lookups since its own last one.", 0.0, 2.0**31, integer=True),),
    Metric("miss", "1", 1.0, statistics=("mean",)),
    arms="paired",
    outcome_deadline_s=1.0,
)
#: Units are independent: each has its own arm for as long as an attempt lasts.
STICKY = replace(KIND, name="chooser", arms="sticky")
SECOND = 1_000_000_000


@dataclass
class Clock:
    """A clock that stands still unless told otherwise."""

    now: int = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        """Return Unix nanoseconds."""
        return self.now

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now += round(seconds * SECOND)


@dataclass
class Publisher:
    """Who signs, and for whom."""

    key: Ed25519PrivateKey
    rollout: Ed25519PrivateKey
    kind: Kind = KIND

    def bundle(self, source: str = "", calibration: str = "c1") -> policy_pb2.Envelope:
        names = self.kind.input_names
        source = source or f"def score({', '.join(names)}):\n    return {names[0]}\n"
        program = check(source, names)
        payload = build_bundle(program, HOOK, self.kind, "e" * 64, {"calibration": calibration})
        return dsse.sign(dsse.BUNDLE_TYPE, payload, self.key)

    def plan(
        self,
        bundle: policy_pb2.Envelope,
        now: int,
        ramp: Ramp,
        stable: str = "incumbent",
        plan_id: str = "",
    ) -> policy_pb2.Envelope:
        payload = build_plan(
            ramp,
            bundle.payload,
            self.kind,
            self.rollout.public_key(),
            now,
            stable=stable,
            predicted={"incumbent": Effect(-0.1, -0.2, -0.05)},
            plan_id=plan_id,
        )
        return sign_plan(payload, self.key)


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


class Process:
    """One process of a service: verifies what it is pushed as a real one, reports made-up outcomes."""

    def __init__(self, instance: str, publisher: Publisher, cell: str = "a") -> None:
        anchors = Anchors((publisher.key.public_key(),))
        self.instance = instance
        self.cell = cell
        self.kind = publisher.kind
        self.policy = HookPolicy(HOOK, self.kind, cell, anchors)
        self.session = Session(Node("router", instance, cell, "test"), {HOOK: self.policy})
        self.counters: dict[str, int] = {"decisions": 0, "fallbacks": 0}
        self.shadow: dict[str, int] = {}
        self.breaker = ""
        self.killed = ""
        self.reported = 0

    @property
    def manifest(self) -> policy_pb2.Manifest:
        assert self.policy.guard.current is not None
        return self.policy.guard.current.manifest

    def receive(self, message: delivery_pb2.ServerMessage, now: int) -> delivery_pb2.Ack:
        return self.session.receive(message, Now(now, now)).reply.ack

    def report(
        self, blocks: list[delivery_pb2.BlockReport] | None = None
    ) -> delivery_pb2.HookReport:
        return delivery_pb2.HookReport(
            hook=HOOK,
            epoch=self.policy.guard.epoch,
            blocks=blocks or [],
            shadow=delivery_pb2.ShadowReport(**self.shadow),
            counters=self.counters,
            breaker=self.breaker,
            killed=self.killed,
        )

    def blocks(
        self, now: int, mean: Callable[[str, int], float], count: int = 50, failures: int = 0
    ) -> list[delivery_pb2.BlockReport]:
        """Return reports of the blocks that ended since the last call."""
        current = self.policy.guard.current
        if current is None or not self.manifest.candidate or current.plan is None:
            return []
        design = self.policy._switchback(self.manifest, current.plan)
        if design is None:
            return []
        last, first = now // design.block_ns, max(self.reported, now // design.block_ns - 3)
        self.reported = last
        full = self.manifest.phase == policy_pb2.PHASE_FULL
        reports = []
        for block in range(first, last):
            treated = "candidate" if full or design.candidate(block) else "stable"
            arms = ("stable", "candidate") if design.paired and not full else (treated,)
            reports += [
                block_report(self.cell, block, arm, mean(arm, block), count, failures)
                for arm in arms
            ]
        return reports


class StickyProcess(Process):
    """One that hashes units into slices and measures them as a real one does."""

    def __init__(self, instance: str, publisher: Publisher, cell: str = "a") -> None:
        super().__init__(instance, publisher, cell)
        self.measure = SliceMeasure(self.kind)
        self.units = [f"user-{i}" for i in range(2000)]
        self.rng = random.Random(instance)
        self.seq = 0

    def report(
        self, blocks: list[delivery_pb2.BlockReport] | None = None
    ) -> delivery_pb2.HookReport:
        report = super().report()
        slices = self.measure.slices()
        if slices is not None:
            report.slices.CopyFrom(slices)
        return report

    def blocks(
        self, now: int, mean: Callable[[str, int], float], count: int = 50, failures: int = 0
    ) -> list[delivery_pb2.BlockReport]:
        """Decide ``count`` times for units drawn at random; ``failures`` of them fail."""
        current = self.policy.guard.current
        if current is None or not self.manifest.candidate or current.plan is None:
            self.measure.follow(None, self.policy.guard.epoch, now)
            return []
        design, epoch = self.policy._sticky(self.manifest, current.plan), self.policy.guard.epoch
        self.measure.follow(design, epoch, now)
        for i in range(count if design else 0):
            unit = self.rng.randrange(len(self.units))
            index = design.slice(self.units[unit])
            arm = "candidate" if index < design.candidates else "stable"
            self._decide(index, arm, epoch, mean(arm, unit), now, i < failures)
        return []

    def _decide(
        self, index: int, arm: str, epoch: int, mean: float, now: int, failed: bool
    ) -> None:
        self.seq += 1
        value = mean * self.rng.lognormvariate(-0.12, 0.49)  # coefficient of variation 0.53
        arms = arm, "split", "", "x"
        fixed = 0, 1, (), 1.0, "sampled", 0, 0
        self.measure.add(Decision(self.seq, now, -1, "u", *arms, epoch, index, *fixed))
        values = (("latency_ms", value),)
        told = self.seq, now, not failed, "reported", values, arm, index, now
        self.measure.add(Outcome(*told))


def block_report(
    cell: str, block: int, arm: str, mean: float, count: int = 50, failures: int = 0
) -> delivery_pb2.BlockReport:
    """Return a report of equal outcomes."""
    histogram = [0] * BUCKETS
    histogram[bucket(mean, KIND.objective.clip)] = count
    return delivery_pb2.BlockReport(
        cell=cell,
        block=block,
        arm=arm,
        count=count,
        sum=mean * count,
        failures=failures,
        missing=0,
        histogram=histogram,
    )


@dataclass
class World:
    """A control plane with its processes, all on one clock."""

    folder: Path
    publisher: Publisher
    clock: Clock = field(default_factory=Clock)
    processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(7)
        self.control = self.open()

    def open(self) -> Control:
        self.store = Store(self.folder / "rollouts.db")
        self.ledger = Ledger(self.folder / "ledger.db", self.clock)
        signer = self.publisher.key.public_key()
        names = {keys.keyid(signer): "ci.pub"}
        identity = Identity(self.publisher.rollout, (signer,), names)
        control = Control(self.store, self.ledger, identity, self.clock, self.rng.randbytes)
        control.published = self.push
        return control

    def restart(self) -> None:
        """Lose everything that is not on disk."""
        self.close()
        self.control = self.open()
        for process in self.processes:
            self.greet(process)

    def close(self) -> None:
        self.store.close()
        self.ledger.close()

    def join(self, instance: str, cell: str = "a") -> Process:
        sticky = self.publisher.kind.arms == "sticky"
        process = (StickyProcess if sticky else Process)(instance, self.publisher, cell)
        self.processes.append(process)
        self.greet(process)
        return process

    def greet(self, process: Process) -> None:
        hello = process.session.hello().hello
        self.control.hello(hello.node, hello.hooks)
        self.push(HOOK, [process])

    def push(self, hook: str, processes: list[Process] | None = None) -> None:
        for process in processes or self.processes:
            for message in self.control.pushes(hook, process.policy.programs):
                self.control.ack(process.instance, process.receive(message, self.clock.now))

    def ship(self, ramp: Ramp = RAMP, **options: str) -> str:
        """Ship a policy and return the rollout's id."""
        calibration = options.pop("calibration", "c1")
        source = options.pop("source", "")
        bundle = self.publisher.bundle(source, calibration)
        plan = self.publisher.plan(bundle, self.clock.now, ramp, **options)
        return self.control.create(bundle, plan, "ci").plan.id

    def run(
        self, seconds: float, mean: Callable[[str, int], float], until: str = "", failures: int = 0
    ) -> str:
        """Let time pass in steps, with every process at work; return the state's name."""
        for _ in range(round(seconds / 0.25)):
            self.clock.pass_s(0.25)
            for process in self.processes:
                process.counters["decisions"] += 10
                if (
                    process.policy.guard.current
                    and process.manifest.phase == policy_pb2.PHASE_SHADOW
                ):
                    process.shadow["decisions"] = process.shadow.get("decisions", 0) + 10
                blocks = process.blocks(self.clock.now, mean, failures=failures)
                self.control.report(process.instance, process.report(blocks))
            self.control.tick()
            if self.status == until:
                break
        return self.status

    @property
    def status(self) -> str:
        return self.control.get().status.value


@pytest.fixture
def publisher() -> Publisher:
    """Fresh keys."""
    return Publisher(keys.generate(), keys.generate())


@pytest.fixture
def world(tmp_path: Path, publisher: Publisher) -> Iterator[World]:
    """A control plane with two processes of one cell."""
    made = World(tmp_path, publisher)
    made.join("aa")
    made.join("bb")
    yield made
    made.close()


@pytest.fixture
def ramp() -> Ramp:
    """A ramp with short times."""
    return RAMP


@pytest.fixture
def report() -> Callable[..., delivery_pb2.BlockReport]:
    """Makes block reports."""
    return block_report


@pytest.fixture
def paired(tmp_path: Path, publisher: Publisher) -> Iterator[World]:
    """A control plane with two processes of one cell whose hook has paired arms."""
    made = World(tmp_path, replace(publisher, kind=PAIRED))
    made.join("aa")
    made.join("bb")
    yield made
    made.close()


@pytest.fixture
def sticky(tmp_path: Path, publisher: Publisher) -> Iterator[World]:
    """A control plane with two processes whose hook has sticky arms."""
    made = World(tmp_path, replace(publisher, kind=STICKY))
    made.join("aa")
    made.join("bb")
    yield made
    made.close()


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Whole]:
    """A control plane in a process of its own, to be followed by services in theirs."""
    made = Whole(tmp_path)
    yield made
    made.stop()
