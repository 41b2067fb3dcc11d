"""The control plane over all its lives: the real one, its streams, and a disk that outlives it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gnomon.policies.rollout.control import Control
from gnomon.policies.rollout.services.delivery import DeliveryService
from gnomon.policies.rollout.states import State
from gnomon.v1 import delivery_pb2, policy_pb2

from ..events import CONTROL, Moved, Published, Restarted
from .backups import Backups
from .disk import Died, Fuse, SimLedger, SimStore, SimTables
from .process import Process, content
from .wire import Link

if TYPE_CHECKING:
    from .world import World

#: One outage in ten lasts up to so long: beyond a lease, and the end of some plans.
_OUTAGE_S = 25.0
_PHASES = {1: "stable", 2: "shadow", 3: "canary", 4: "full"}


class Gone(RuntimeError):
    """The control plane died before it answered."""


class Plane:
    """A control plane that may die at any write, and starts again from its disk."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.fuse = Fuse(world.rng, 0.0, world.met)
        self.store: Any = SimStore(self.fuse) if world.on_sqlite else SimTables(self.fuse)
        self.ledger = SimLedger(self.fuse, self.clock)
        self.fuse.rate = world.weather.writes / 4.0
        self.skew_ns = 0
        self.trouble = ""
        #: What must not happen here, whatever becomes of it.
        self.problems: list[str] = []
        self.backups = Backups(self)
        self.control: Control | None = None
        #: What a replay may bring again.
        self.sent: deque[delivery_pb2.ServerMessage] = deque(maxlen=80)
        self._service: DeliveryService | None = None
        self._links: list[Link] = []
        self._shown: dict[str, int] = {}

    def clock(self) -> int:
        """Return this machine's Unix time."""
        return self.world.now + self.skew_ns

    def start(self) -> None:
        """Begin a life; one that cannot begin is tried again."""
        world = self.world
        if self.control is not None:
            return
        try:
            control = Control(
                self.store, self.ledger, world.keys.identity, self.clock, world.rng.randbytes
            )
        except (Died, Exception) as error:  # noqa: BLE001 - what does not pass is found at the end
            self._again(error)
            self.backups.refused()
            return
        self.backups.begun()
        self.control, self._service = control, DeliveryService(control)
        control.published, control.resigned = self._published, self._service.resigned
        if world.now > world.begin:
            world.add(Restarted(world.now, CONTROL))

    def _again(self, error: BaseException) -> None:
        self.trouble = repr(error)
        self.world.met[f"control plane: start fails: {type(error).__name__}"] += 1
        self.world.after(1.0, self.start)

    def accept(self, process: Process) -> Link | None:
        """Take a process's stream, unless this is down or out of reach."""
        world = self.world
        if self.control is None or (world.now < process.cut_until and not world.calm):
            return None
        link = Link(world, process)
        self._links.append(link)
        return link

    def receive(self, link: Link, message: delivery_pb2.ClientMessage) -> None:
        """Take a process's message; trouble ends its stream, as a raising coroutine would."""
        service = self._service
        if service is None:
            return
        lifted = self._lifted(message)
        _, error = self.call(lambda: service._receive(link.stream, message))
        self.world.met["epoch lifted"] += lifted and error is None
        if error is not None:
            self.world.met[f"stream ended: {type(error).__name__}"] += 1
            self.leave(link)
            link.dropped()

    def _lifted(self, message: delivery_pb2.ClientMessage) -> bool:
        """Return whether a process has seen an epoch that was never published here."""
        control = self.control
        return control is not None and any(
            hook.epoch > control.epoch(hook.hook) for hook in message.hello.hooks
        )

    def leave(self, link: Link) -> None:
        """Learn that a stream has ended."""
        service = self._service
        if link.left:
            return
        link.left = True
        if link in self._links:
            self._links.remove(link)
        if service is not None:
            self.call(lambda: service._leave(link.stream))

    def tick(self) -> None:
        """Let time pass there."""
        control = self.control
        if control is not None:
            _, error = self.call(control.tick)
            if error is not None:
                self._failed(error)
            behind = control is self.control and control._backlog.waiting
            self.world.met["ledger falls behind"] += behind

    def _failed(self, error: Exception) -> None:
        """Note that a tick failed; for anything but a disk that is full, or the process's death, it must not."""
        self.world.met["tick fails"] += 1
        if not isinstance(error, Gone) and "is full" not in str(error):
            what = f"{type(error).__name__}: {error}"
            self.problems.append(f"tick: {CONTROL} at {self.world.now}: {what}")

    def call(self, work: Callable[[], Any]) -> tuple[Any, Exception | None]:
        """Do something in the control plane; return its result, or what it raised.

        Raises nothing: when the process dies in it, so does everything that it held in memory.
        """
        try:
            result: tuple[Any, Exception | None] = (work(), None)
        except Died as died:
            if self.world.rng.random() < 0.5:  # what it has written may be on its way
                self._drain()
            self.crash()
            return None, Gone(f"died at {died}")
        except Exception as error:  # noqa: BLE001 - the boundary that coroutines have in the server
            result = None, error
        self._drain()
        return result

    def crash(self) -> None:
        """Die now, and come back after a while."""
        world = self.world
        if self.control is None:
            return
        for state in self._newest():
            world.met[f"control plane dies in {state.status}"] += 1
        self.control = self._service = None
        for link in self._links:
            link.left = True
            link.dropped()
        self._links = []
        self.skew_ns = round(world.rng.uniform(-1, 1) * world.weather.skew_s * 1e9)
        longest = _OUTAGE_S if world.rng.random() < 0.1 and not world.calm else 4.0
        world.after(world.rng.uniform(0.1, longest), self.start)

    def _newest(self) -> list[State]:
        """Return the newest rollout of every hook."""
        if self.control is None:
            return []
        return list({state.plan.hook: state for state in self.control.rollouts()}.values())

    def _published(self, hook: str) -> None:
        fault = self.fuse.next("publish")
        if fault == "dies before":
            raise Died("publish")
        if self._service is not None:
            self._service.publish(hook)
        if fault == "dies after":
            raise Died("publish")

    def _drain(self) -> None:
        """Put on the wire what waits in the streams."""
        for link in list(self._links):
            while True:
                try:
                    message = link.stream.outbox.get_nowait()
                except asyncio.QueueEmpty:
                    break
                if message is None:
                    self.leave(link)
                    link.dropped()
                    break
                self._send(link, message)

    def _send(self, link: Link, message: delivery_pb2.ServerMessage) -> None:
        if message.WhichOneof("resource") == "manifest":
            self._note(message.manifest)
        self.sent.append(message)
        link.push(message)

    def _note(self, push: delivery_pb2.ManifestPush) -> None:
        world, payload = self.world, push.envelope.payload
        manifest = policy_pb2.Manifest.FromString(payload)
        rollout = _plan_id(manifest.plan.payload)
        signed = tuple(made.keyid for made in manifest.plan.signatures)
        world.add(
            Published(
                world.now, CONTROL, push.hook, rollout, manifest.epoch, content(push.envelope),
                manifest.stable, manifest.candidate, _PHASES[manifest.phase], manifest.weight,
                manifest.kill, manifest.issued_unix_ns, signed, push.envelope.signatures[0].keyid,
            )
        )  # fmt: skip
        self.show(rollout)

    def forget(self) -> None:
        """Forget what was shown: an older copy of the files may tell it anew."""
        self._shown = {}

    def show(self, rollout: str) -> None:
        """Note which transitions somebody has seen by now."""
        if self.control is None:
            return
        made = self.control.get(rollout).transitions
        for number in range(self._shown.get(rollout, 0), len(made)):
            one = made[number]
            seen = (one.before.value, one.after.value, one.cause)
            self.world.add(Moved(self.world.now, CONTROL, rollout, number, *seen))
        self._shown[rollout] = max(len(made), self._shown.get(rollout, 0))


@lru_cache(maxsize=4096)
def _plan_id(payload: bytes) -> str:
    return policy_pb2.RampPlan.FromString(payload).id
