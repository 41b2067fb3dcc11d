"""One stream between a process and the control plane, over a network that may do anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gnomon.policies.rollout.streams import Stream
from gnomon.v1 import delivery_pb2

if TYPE_CHECKING:
    from .process import Process
    from .world import World

#: After so long without a sign, either side gives a broken stream up.
_NOTICE_S = 3.0


class Link:
    """A stream, with the control plane's end of it.

    Attributes:
        stream: the control plane's.
        cut: whether the process's side knows that it has ended.
        deaf_down, deaf_up: until when messages in that direction are lost unnoticed.
    """

    def __init__(self, world: World, process: Process) -> None:
        self.stream = Stream(0.0)
        self.cut = False
        self.left = False
        self.deaf_down = self.deaf_up = 0
        self._world = world
        self._process = process
        self._last = {"up": 0, "down": 0}

    def send(self, message: delivery_pb2.ClientMessage) -> None:
        """Carry a message to the control plane."""
        for at in self._arrivals("up", self.deaf_up):
            self._world.at(at, lambda: self._arrive_up(message))

    def push(self, message: delivery_pb2.ServerMessage) -> None:
        """Carry a message to the process."""
        for at in self._arrivals("down", self.deaf_down):
            self._world.at(at, lambda: self._arrive_down(message))

    def break_off(self) -> None:
        """End the stream: this side knows at once, the control plane after a while."""
        self.cut = True
        if not self.left:
            delay = self._world.rng.uniform(0.0, _NOTICE_S)
            self._world.after(delay, lambda: self._world.plane.leave(self))

    def dropped(self) -> None:
        """Learn after a while that the control plane has ended the stream."""
        self._world.after(self._world.rng.uniform(0.0, _NOTICE_S), self._noticed)

    def _noticed(self) -> None:
        self.cut = True
        if self._process.link is self:
            self._process.link = None

    def _arrive_up(self, message: delivery_pb2.ClientMessage) -> None:
        if not self.left:
            self._world.plane.receive(self, message)

    def _arrive_down(self, message: delivery_pb2.ServerMessage) -> None:
        if not self.cut and self._process.link is self:
            self._process.receive(message, self)

    def _arrivals(self, way: str, deaf_until: int) -> list[int]:
        """Return when a message arrives: once, never, or twice."""
        world, weather, rng = self._world, self._world.weather, self._world.rng
        if world.calm:
            return [world.now + 1_000_000]
        if world.now < max(deaf_until, self._process.cut_until):
            world.met["lost in a half-open stream"] += 1
            return []
        if rng.random() < weather.drop:
            world.met["message dropped"] += 1
            return []
        count = 1
        if rng.random() < weather.duplicate:
            world.met["message duplicated"] += 1
            count = 2
        return [self._arrival(way) for _ in range(count)]

    def _arrival(self, way: str) -> int:
        world = self._world
        at = world.now + round(world.weather.delay_s * world.rng.random() * 1e9)
        if world.rng.random() < world.weather.reorder:
            world.met["message reordered"] += 1
            return at + round(2e9 * world.weather.delay_s * world.rng.random())
        self._last[way] = max(at, self._last[way])
        return self._last[way]
