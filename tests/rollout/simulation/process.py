"""A service's process: the real delivery client, guard and measure, without threads and sockets."""

from __future__ import annotations

import hashlib
import queue
from typing import TYPE_CHECKING, Any, ClassVar

from gnomon.sdk.arms import Arms, Moment, Sampling, Surroundings, segment
from gnomon.sdk.assignment import Assignment
from gnomon.sdk.channel import Peer
from gnomon.sdk.delivery import DeliveryClient, Settings, _Stream
from gnomon.sdk.guard import Guarded
from gnomon.sdk.limits import Breakers, Limits
from gnomon.sdk.manifest import Anchors, Now
from gnomon.sdk.measure import BlockMeasure
from gnomon.sdk.records import Decision, Outcome
from gnomon.sdk.session import Session
from gnomon.v1 import delivery_pb2, policy_pb2

from ..history import Acked, Decided, Installed, LeaseEnded, Nacked, Restarted
from .disk import Died, Folder, Fuse
from .publisher import KIND, PUBLISHER
from .weather import SECOND

if TYPE_CHECKING:
    from .wire import Link
    from .world import World

#: Tolerance of clocks of these services.
SKEW_NS = 5 * SECOND
_SAMPLING = Sampling(1.0, SECOND, "", "")
_PER_STEP = 3
_LIMITS = Limits()


class SimHook:
    """A hook as delivery sees it; its decisions are made one by one, with the product's arms."""

    kind = KIND
    has_outcomes = True
    broken: ClassVar[dict[str, int]] = {}

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.counters: dict[str, int] = {"decisions": 0, "fallbacks": 0}
        self.measure: Any = None
        self.killed = ""
        self.arms = Arms()
        self._process = process
        self._breakers = Breakers(lambda reason: None)
        self._open: list[tuple[Decision, str, int]] = []
        self._stale = False

    @property
    def breaker(self) -> str:
        """Why the candidate was taken back here."""
        return self.arms.breaker()

    def new_measure(self) -> BlockMeasure:
        """Return the product's measure by blocks."""
        return BlockMeasure(self.kind)

    def install(self, assignment: Assignment) -> None:
        """Run on another assignment."""
        self._process.installed(self.name, assignment.epoch)
        self.arms = Arms(
            assignment,
            self._guarded(assignment.stable, "stable", assignment.epoch),
            self._guarded(assignment.candidate, "candidate", assignment.epoch),
        )

    def trip(self) -> None:
        """Have the candidate taken back, as after faults."""
        if self.arms.candidate is not None:
            self.arms.candidate.breaker.reason = "fault"

    def step(self, now: Now) -> None:
        """Report the outcomes of the last decisions and make some more."""
        self._resolve(now)
        held = segment(
            self.arms,
            Moment(now.unix_ns, now.monotonic_ns),
            _SAMPLING,
            Surroundings(killed=bool(self.killed)),
        )
        self._note(held)
        for _ in range(_PER_STEP):
            self._decide(held, now)

    def _note(self, held: Any) -> None:
        world, process = self._process.world, self._process
        if held.stale and not self._stale:
            world.met["lease ends"] += 1
            world.add(LeaseEnded(world.now, process.name, self.name, held.epoch))
        self._stale = held.stale
        world.add(Decided(world.now, process.name, self.name, held.epoch, held.arm, held.policy))

    def _decide(self, held: Any, now: Now) -> None:
        world = self._process.world
        seq = self.counters["decisions"]
        self.counters["decisions"] += 1
        self.counters["fallbacks"] += held.reason == "fallback"
        made = Decision(
            seq, now.unix_ns, 1000, "", held.arm, held.reason, held.detail, held.policy, held.epoch,
            held.block, 0, 1, (1.0,), 1.0, "sampled", 0, 0,
        )  # fmt: skip
        if held.shadow is not None:
            self._shadowed(world.truth(self.name, self.arms.assignment.candidate_digest))
        if self.measure is not None:
            self.measure.add(made)
            self._open.append((made, held.policy, now.monotonic_ns))

    def _shadowed(self, truth: Any) -> None:
        counts = self.counters
        counts["shadow_decisions"] = counts.get("shadow_decisions", 0) + 1
        fault = self._process.rng.random() < truth.faults
        counts["shadow_faults"] = counts.get("shadow_faults", 0) + fault

    def _resolve(self, now: Now) -> None:
        """Report outcomes of a step ago; silent ones are missing at the deadline."""
        kept = []
        for made, policy, at in self._open:
            truth, rng = self._process.world.truth(self.name, policy), self._process.rng
            if truth.silent and now.monotonic_ns - at < KIND.outcome_deadline_s * SECOND:
                kept.append((made, policy, at))
                continue
            status = "missing" if truth.silent else "reported"
            ok = not truth.silent and rng.random() >= truth.failures
            value = 10.0 * truth.factor * rng.uniform(0.9, 1.1)
            outcome = Outcome(
                made.seq, now.unix_ns, ok, status, (("latency_ms", value),), made.arm, made.block,
                made.time_ns,
            )  # fmt: skip
            self.measure.add(outcome)
        self._open = kept

    def _guarded(self, program: Any, arm: str, epoch: int) -> Guarded | None:
        breaker = self._breakers.of(arm, epoch, _LIMITS)
        if program is None:
            return None
        host: Any = None  # nobody asks the program for an answer here
        return Guarded(program, self.kind, (), host, breaker)


class Process:
    """One process of a service over all its lives."""

    def __init__(self, world: World, name: str, cell: str) -> None:
        self.world = world
        self.name = name
        self.cell = cell
        self.rng = world.rng
        self.fuse = Fuse(world.rng, 0.0, world.met)
        self.folder = Folder(self.fuse)
        self.link: Link | None = None
        self.up = False
        self.skew_ns = 0
        self.cut_until = 0
        self.silent_until = 0
        self._lives = 0
        self._content: dict[str, str] = {}
        self._arriving = ""

    def now(self) -> Now:
        """Return both clocks of the process's machine."""
        return Now(self.world.now + self.skew_ns, self.world.now - self._born + SECOND)

    def start(self, *, kept: bool = True) -> None:
        """Begin a life; without its state when that is lost."""
        world = self.world
        self._born, self._lives, self.up = world.now, self._lives + 1, True
        if not kept:
            self.folder = Folder(self.fuse)
        if self._lives > 1:
            world.add(Restarted(world.now, self.name, kept))
        self.instance = f"{self.name}-{self._lives}"
        self.hooks = {name: SimHook(name, self) for name in world.hooks}
        anchors = Anchors((PUBLISHER.public_key(),), skew_ns=SKEW_NS)
        self.client = DeliveryClient(
            self.hooks.values,
            Settings(Peer("localhost:1"), "router", anchors, self.cell),
            lambda: self.instance,
            now=self.now,
            rng=self.rng,
        )
        self.client._store = self.folder  # type: ignore[assignment]  # a disk of this world
        self._arriving = ""
        self.client._discover()

    def connect(self) -> None:
        """Open a stream and greet."""
        if not self.up or self.link is not None:
            return
        self.link = self.world.plane.accept(self)
        if self.link is None:
            return
        session = Session(self.client._node(), self.client._policies)
        self.stream = _Stream(session, queue.SimpleQueue(), self.now().monotonic_ns)
        self.link.send(session.hello())

    def receive(self, message: delivery_pb2.ServerMessage, link: Link | None) -> None:
        """Handle a pushed resource and answer it where a stream is there to take it."""
        if not self.up or self.link is None:
            return
        self._arriving = content(message.manifest.envelope)
        try:
            reply = self.client._handled(self.stream.session, message)
        except Died:
            self.crash()
            return
        self._record(reply.ack)
        if link is self.link and link is not None:
            link.send(reply)

    def _record(self, ack: delivery_pb2.Ack) -> None:
        world = self.world
        if not ack.ok:
            name = ack.name if ack.resource == "manifest" else ""
            world.met["nack"] += 1
            world.add(Nacked(world.now, self.name, name, ack.epoch, ack.error))
        elif ack.resource == "manifest":
            world.add(Acked(world.now, self.name, ack.name, ack.epoch))

    def installed(self, hook: str, epoch: int) -> None:
        """Note what a hook put in force: what just arrived, or what its folder held."""
        what, resumed = self._arriving, not self._arriving
        if resumed:
            what = content(policy_pb2.Envelope.FromString(self.folder.load(hook).manifest))
        world = self.world
        world.add(Installed(world.now, self.name, hook, epoch, what, resumed))

    def step(self) -> None:
        """Let the hooks work for a moment, and report."""
        if not self.up:
            return
        if self.world.now >= self.silent_until:
            for hook in self.hooks.values():
                hook.step(self.now())
        if self.link is not None and not self.link.cut:
            reports = list(self.client._reports(self.stream))
            # A hook that is none would cost its reports, and the simulation its point.
            assert len(reports) == len(self.hooks), self.client._last_error
            for message in reports:
                self.link.send(message)

    def crash(self) -> None:
        """Die, and come back after a while."""
        if not self.up:
            return
        self.up = False
        if self.link is not None:
            self.link.break_off()
            self.link = None
        world = self.world
        kept = self.rng.random() >= world.weather.lose_state
        world.met["process restart" if kept else "process restart without state"] += 1
        world.after(self.rng.uniform(0.1, 6.0), lambda: self.start(kept=kept))


def content(envelope: policy_pb2.Envelope) -> str:
    """Return the name of a manifest in a history."""
    return hashlib.sha256(envelope.payload).hexdigest()[:16] if envelope.payload else ""
