"""A canary under way between real processes, with a proxy between them."""

from __future__ import annotations

from dataclasses import dataclass

from gnomon.policies.rollout.client import RolloutClient

from .observed import Orders, check
from .processes import Keys, Plane, Service, until
from .proxy import Proxy


@dataclass
class Scene:
    """A canary under way between one control plane and one service, with a proxy between."""

    made: Keys
    plane: Plane
    service: Service
    proxy: Proxy
    client: RolloutClient
    orders: Orders
    rollout: str = ""

    def acked(self) -> int:
        """Return the highest epoch that the service acknowledged."""
        return max((client.epoch for client in self.client.clients()), default=0)

    def hold_and_resume(self) -> None:
        """Give two orders, and wait until the service has acknowledged what came of them."""
        self.orders.act(self.client, self.rollout, "hold")
        self.resume()

    def resume(self) -> None:
        """Resume, and wait until the service has acknowledged it."""
        epoch = self.orders.act(self.client, self.rollout, "resume").epoch
        until(lambda: self.acked() == epoch, f"the service acknowledges epoch {epoch}")

    def ends(self) -> None:
        """Take the candidate back, and see that the service knows and that nothing was wrong."""
        epoch = self.orders.act(self.client, self.rollout, "abort").epoch
        until(lambda: self.acked() == epoch, "the service acknowledges the end")
        self.service.comes_to(0)
        assert self.service.stop() == 0
        self.client.close()
        assert self.plane.stop() == 0
        assert check(self.made, self.orders, [self.service], self.plane.state) == []
