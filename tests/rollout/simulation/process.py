"""A service's process: the real delivery client and guard, without threads and sockets."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gnomon.sdk import keys
from gnomon.sdk.channel import Peer
from gnomon.sdk.delivery import DeliveryClient, Settings
from gnomon.sdk.keyring import KeyRing, Pins
from gnomon.sdk.manifest import Anchors, Now
from gnomon.v1 import delivery_pb2, policy_pb2

from ..events import Acked, Installed, Nacked, Restarted, Trusted
from .disk import Died, Folder, Fuse
from .hooks import SimHook
from .weather import SECOND

if TYPE_CHECKING:
    from .wire import Link
    from .world import World

#: Tolerance of clocks of these services.
SKEW_NS = 5 * SECOND


class Ring(KeyRing):
    """The files of a process's pinned keys, which somebody may have changed."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._read = process.pins

    def changed(self) -> Pins | None:
        """Return what the files say now if they are not as last read."""
        before, self._read = self._read, self._process.pins
        return None if before is self._read else self._read


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
        #: What the files of pinned keys say here.
        self.pins = world.keys.pins
        self._lives = 0
        self._content: dict[str, str] = {}
        self._arriving = ""
        self._trusting = False

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
        world.add(self._trusted())
        pins = self.pins
        anchors = Anchors(pins.publishers, skew_ns=SKEW_NS, revoked=pins.revoked)
        self.client = DeliveryClient(
            self.hooks.values,
            Settings(Peer("localhost:1"), "router", anchors, self.cell, keyring=Ring(self)),
            lambda: self.instance,
            now=self.now,
            rng=self.rng,
        )
        self.client._holdings._store = self.folder  # type: ignore[assignment]  # a disk of this world
        self.client._witness = self.folder.witness
        self._arriving = ""
        self.client._holdings.discover()

    def connect(self) -> None:
        """Open a stream and greet."""
        if not self.up or self.link is not None:
            return
        self.link = self.world.plane.accept(self)
        if self.link is None:
            return
        self.stream = self.client._opened()
        self.link.send(self.stream.session.hello())

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
        reply.ack.anchor = self.client._witness.newest  # as the stream's own loop does
        self.client._witness.told(message.anchor, self.now().unix_ns)
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
        """Note what a hook put in force: what just arrived, or what its folder held.

        What is left of a manifest that has lost a signature is no other one.
        """
        if self._trusting:
            return
        what, resumed = self._arriving, not self._arriving
        if resumed:
            what = content(policy_pb2.Envelope.FromString(self.folder.load(hook).manifest))
        world = self.world
        world.add(Installed(world.now, self.name, hook, epoch, what, resumed))

    def step(self) -> None:
        """Look after the keys, let the hooks work for a moment, and report."""
        if not self.up:
            return
        self._look_after_keys()
        if self.world.now >= self.silent_until:
            for hook in self.hooks.values():
                hook.step(self.now())
        if self.link is not None and not self.link.cut:
            reports = list(self.stream.reporter.reports())
            # A hook that is none would cost its reports, and the simulation its point.
            assert len(reports) == len(self.hooks), self.client._last_error
            for message in reports:
                self.link.send(message)

    def _look_after_keys(self) -> None:
        """Read the files of keys; where they have changed, another stream begins, as in the real loop."""
        self._trusting = True
        changed = self.client._look_after_keys()
        self._trusting = False
        if changed:
            self.world.add(self._trusted())
            if self.link is not None:
                self.link.break_off()
                self.link = None

    def _trusted(self) -> Trusted:
        known = tuple(keys.keyid(key) for key in self.pins.publishers)
        return Trusted(self.world.now, self.name, known, self.pins.revoked)

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
