"""One simulated world: time, troubles, and what is asked of its history at the end."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

from gnomon.policies.rollout.ledger import GENESIS
from gnomon.policies.rollout.states import State
from gnomon.sdk import dsse
from gnomon.sdk.state import Saved
from gnomon.v1 import delivery_pb2, policy_pb2

from ..events import CONTROL, Counted, Entry, Event, Settled
from ..history import check
from ..sticky import by_numpy
from .arrows import arrow
from .keys import Keys
from .operators import Operators
from .plane import Plane
from .process import SKEW_NS, Process
from .publisher import DRIFTED, STRANGER, USUAL, kind_of
from .weather import SECOND, Weather, draw

_START = 1_700_000_000 * SECOND
_STEP_S = 0.8
#: One world in so many has its control plane on SQLite and its own arithmetic, the others on tables in memory
#: and on numpy for the sums over assignments.
_ON_SQLITE = 10
#: Simulated seconds without trouble at the end, in which everybody has to come to the same.
_CALM_S = 12.0


@dataclass(frozen=True, slots=True)
class Truth:
    """What a policy does to outcomes: factor of the latency, share of failures and of faults, silence."""

    factor: float
    failures: float = 0.0
    faults: float = 0.0
    silent: bool = False


_INCUMBENT = Truth(1.0)
_TRUTHS = (
    *(Truth(0.6), Truth(0.6), Truth(0.7), Truth(0.85), Truth(1.0), Truth(1.4)),
    *(Truth(0.7, 0.3), Truth(0.7, faults=0.2), Truth(0.7, silent=True)),
)


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a world.

    Attributes:
        seed: that everything was drawn from.
        history: all that happened.
        problems: what was not allowed; empty for a safe history.
        rollouts: how many were begun.
        met: how often every transition and every kind of trouble was met.
    """

    seed: int
    history: tuple[Event, ...]
    problems: tuple[str, ...]
    rollouts: int
    met: Counter[str]


class World:
    """Time and everything in it.

    Attributes:
        now: true Unix time in ns.
        calm: whether all has healed.
        on_sqlite: whether the store is the product's own.
    """

    def __init__(
        self, seed: int, weather: Weather | None = None, *, on_sqlite: bool | None = None
    ) -> None:
        self.seed = seed
        self.on_sqlite = seed % _ON_SQLITE == 0 if on_sqlite is None else on_sqlite
        self.rng = random.Random(seed)
        self.weather = weather or draw(self.rng)
        self.begin = self.now = _START + round(self.rng.random() * 1e10)
        self.calm = False
        self.met: Counter[str] = Counter()
        self.history: list[Event] = []
        kinds = ("hook", "hook", "sticky", "paired")
        self.hooks = [f"{self.rng.choice(kinds)}.{i}" for i in range(self.weather.hooks)]
        self._high = dict.fromkeys(self.hooks, USUAL)
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._truths: dict[tuple[str, str], Truth] = {}
        self.keys = Keys(self)
        self.plane = Plane(self)
        self.operators = Operators(self)
        self.processes = [
            Process(self, f"p{i}", f"cell{i % self.weather.cells}")
            for i in range(self.weather.processes)
        ]

    def add(self, event: Event) -> None:
        """Add to the history."""
        self.history.append(event)

    def at(self, time_ns: int, work: Callable[[], None]) -> None:
        """Do something at a time."""
        self._number += 1
        heapq.heappush(self._queue, (max(time_ns, self.now), self._number, work))

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """Do something later."""
        self.at(self.now + round(seconds * SECOND), work)

    def truth(self, hook: str, policy: str) -> Truth:
        """Return what a policy does."""
        return self._truths.get((hook, policy), _INCUMBENT)

    def feature(self, hook: str) -> float:
        """Return what the next decision of a hook sees."""
        return 9.0 if self.rng.random() < self._high[hook] else 1.0

    def draw_truth(self, hook: str, policy: str) -> None:
        """Decide what a policy does, when it is first shipped."""
        self._truths.setdefault((hook, policy), self.rng.choice(_TRUTHS))

    def run(self) -> Run:
        """Live through everything and look at it."""
        self.add(self.keys.trusted())
        self.plane.start()
        for process in self.processes:
            self._settle_in(process)
        self._every(0.5, self.plane.tick)
        self._every(1.0, self._trouble)
        end = self.begin + round(self.weather.seconds * SECOND)
        self._until(end)
        self._heal()
        self._until(end + round(_CALM_S * SECOND))
        return self._judged()

    def _settle_in(self, process: Process) -> None:
        """Start a process; some come from another control plane, with epochs of its own."""
        process.skew_ns = self._skew()
        if self.rng.random() < 0.05:
            for hook in self.hooks:
                process.folder.save(hook, Saved(self.rng.randrange(2, 40)))
        process.start()
        process.fuse.rate = self.weather.writes
        self._every(_STEP_S, process.step)
        self._every(0.7, process.connect)

    def _skew(self) -> int:
        most = self.weather.skew_s * (4.0 if self.rng.random() < 0.1 else 1.0)
        return round(self.rng.uniform(-most, most) * SECOND)

    def _every(self, seconds: float, work: Callable[[], None]) -> None:
        """Do something again and again, not quite in step."""

        def again() -> None:
            work()
            self.after(seconds * self.rng.uniform(0.9, 1.1), again)

        self.after(seconds * self.rng.random(), again)

    def _until(self, end: int) -> None:
        while self._queue and self._queue[0][0] <= end:
            self.now, _, work = heapq.heappop(self._queue)
            work()
        self.now = end

    def _trouble(self) -> None:
        """Draw what goes wrong in this second, and let people do theirs."""
        if self.calm:
            return
        weather = self.weather
        self.operators.turn()
        self.keys.turn()
        self.plane.backups.turn()
        for hook in self.hooks:
            if self._happens(weather.drift):
                self._high[hook] = USUAL if self._high[hook] == DRIFTED else DRIFTED
                self.met["workload drifts"] += 1
        if self._happens(weather.plane_crash):
            self.plane.crash()
        if self._happens(weather.disk_full) and not self.plane.fuse.full:
            self.plane.fuse.full = self.rng.choice((("store", "ledger"), ("store",), ("ledger",)))
            self.after(self.rng.uniform(0.2, 5.0), self._free)
        for process in self.processes:
            self._disturb(process)

    def _free(self) -> None:
        self.plane.fuse.full = ()

    def _happens(self, rate: float) -> bool:
        return rate > 0.0 and self.rng.random() < rate

    def _disturb(self, process: Process) -> None:
        weather, link = self.weather, process.link
        if self._happens(weather.crash):
            process.crash()
        if self._happens(weather.jump):
            process.skew_ns = self._skew()
            self.met["clock jumps"] += 1
        if self._happens(weather.partition):
            process.cut_until = self.now + round(self.rng.uniform(1.0, 15.0) * SECOND)
            self.met["partition"] += 1
        if link is not None and self._happens(weather.breaks):
            process.link = None
            link.break_off()
            self.met["link breaks"] += 1
        if link is not None and self._happens(weather.half_open):
            until = self.now + round(self.rng.uniform(1.0, 10.0) * SECOND)
            link.deaf_down, link.deaf_up = self.rng.choice(((until, 0), (0, until)))
            self.met["half-open"] += 1
        if self.rng.random() < 0.01:
            process.silent_until = self.now + round(self.rng.uniform(1.0, 8.0) * SECOND)
            self.met["falls silent"] += 1
        self._touch(process)

    def _touch(self, process: Process) -> None:
        """Let breakers trip, people kill by hand, and strangers send what they have."""
        if not process.up:
            return
        weather = self.weather
        for hook in process.hooks.values():
            if self._happens(weather.breaker):
                hook.trip()
                self.met["breaker"] += 1
            if self._happens(weather.killed):
                hook.killed = "" if hook.killed else "by hand"
                self.met["killed by hand"] += 1
        if self.plane.sent and self._happens(weather.replay):
            process.receive(self.rng.choice(self.plane.sent), None)
            self.met["replay"] += 1
        if self.plane.sent and self._happens(weather.forge):
            process.receive(self._forged(self.rng.choice(self.plane.sent)), None)
            self.met["forgery"] += 1

    def _forged(self, message: delivery_pb2.ServerMessage) -> delivery_pb2.ServerMessage:
        """Return a message with a byte changed, or signed by a stranger."""
        forged = delivery_pb2.ServerMessage.FromString(message.SerializeToString())
        which = forged.WhichOneof("resource")
        envelope = forged.bundle.envelope if which == "bundle" else forged.manifest.envelope
        if self.rng.random() < 0.5:
            payload = bytearray(envelope.payload)
            payload[self.rng.randrange(len(payload))] ^= 1 << self.rng.randrange(8)
            envelope.payload = bytes(payload)
        else:
            signed = dsse.sign(envelope.payload_type, envelope.payload + b"\x08\x01", STRANGER)
            envelope.CopyFrom(signed)
        return forged

    def _heal(self) -> None:
        """End all trouble: time enough is left for everybody to hear of everything."""
        self.calm = True
        self.weather = replace(self.weather, delay_s=0.001)
        self.plane.fuse.rate, self.plane.fuse.full = 0.0, ()
        self.plane.skew_ns = 0
        self.plane.start()
        for process in self.processes:
            process.fuse.rate, process.skew_ns, process.cut_until = 0.0, 0, 0
            process.silent_until = 0
            if process.link is not None:
                process.link.break_off()
                process.link = None

    def _judged(self) -> Run:
        apart = self._converged()
        control = self.plane.control
        if control is None:
            return Run(self.seed, tuple(self.history), tuple(apart), 0, self.met)
        self.plane.tick()
        for state in control.rollouts():
            moves = tuple((m.before.value, m.after.value, m.cause) for m in state.transitions)
            self.add(Settled(self.now, CONTROL, state.plan.id, moves))
            arms = kind_of(state.plan.hook).arms
            self.met.update(f"{arms}: {arrow(one)}" for one in state.transitions)
            self.add(self._counted(state))
            self.met["third attempt"] += state.attempt >= 3
        entries = self._entries()
        self.met.update(f"ledger: {entry.kind}" for entry in entries)
        self.history += entries
        deadline = SKEW_NS + self.weather.clock_error_ns
        problems = check(self.history, deadline_ns=deadline) + apart + self.plane.problems
        problems += self.plane.backups.problems()
        rollouts = len(control.rollouts())
        return Run(self.seed, tuple(self.history), tuple(problems), rollouts, self.met)

    def _counted(self, state: State) -> Counted:
        """Return since when a rollout's attempt runs, as clocks go here, and since when its evidence."""
        retried = [one.time_ns for one in state.transitions if one.order == "retry"]
        begun = (retried or [state.transitions[0].time_ns])[-1] - self.weather.clock_error_ns
        since = [2 * point.pair * state.plan.block_ns for point in state.points]
        since += [look.time_ns for look in state.looks]
        given = (state.plan.id, 1 + len(retried), begun, min(since, default=begun))
        return Counted(self.now, CONTROL, *given)

    def _entries(self) -> list[Entry]:
        """Return the ledger as it stands."""
        found: list[Entry] = []
        for entry in self.plane.ledger.list():
            body = entry.body
            before, after = str(body.get("from", "")), str(body.get("to", ""))
            cause, order = str(body.get("cause", "")), str(body.get("order", ""))
            found.append(
                Entry(
                    self.now, CONTROL, entry.seq, entry.previous.hex() or GENESIS.hex(),
                    entry.hash.hex(), entry.kind, entry.subject, int(body.get("event", 0)),
                    before, after, cause, order,
                )
            )  # fmt: skip
        return found

    def _converged(self) -> list[str]:
        """Give what is on its way a moment, as long as there is something."""
        for _ in range(5):
            if not self._apart():
                break
            self._until(self.now + SECOND // 10)
        return self._apart()

    def _apart(self) -> list[str]:
        """Say which processes run something else than the control plane says, though all is well."""
        control = self.plane.control
        if control is None:
            return [f"apart: the control plane does not start: {self.plane.trouble}"]
        problems = []
        for process in self.processes:
            for hook in self.hooks:
                guard, error = (
                    process.client._holdings.policies[hook].guard,
                    process.client._last_error,
                )
                told = control.epoch(hook)
                if control.rollouts(hook) and guard.epoch != told and "expired" not in error:
                    where = f"{process.name} at {hook}: epoch {guard.epoch} instead of {told}"
                    problems.append(f"apart: {where}: {error}")
                elif guard.current is not None and guard.epoch == told:
                    problems += self._otherwise(process.name, hook, guard.current.manifest)
        return problems

    def _otherwise(self, process: str, hook: str, found: policy_pb2.Manifest) -> list[str]:
        """Say where a process has the epoch in force with another content."""
        control = self.plane.control
        if control is None or not control.rollouts(hook):
            return []
        target = control.rollouts(hook)[-1].target
        own, said = (found.kill, found.candidate), (target.kill, target.candidate)
        if own == said and found.stable == target.stable:
            return []
        return [f"apart: {process} at {hook}: epoch {found.epoch} of {own} instead of {said}"]


def simulate(seed: int, weather: Weather | None = None, *, on_sqlite: bool | None = None) -> Run:
    """Return what became of a seed's world; the same every time."""
    world = World(seed, weather, on_sqlite=on_sqlite)
    with nullcontext() if world.on_sqlite else by_numpy():
        return world.run()
