"""The control plane is killed again and again, with orders and transitions under way."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
from collections.abc import Callable

import pytest

from gnomon.policies.rollout.client import RolloutClient
from gnomon.sdk.errors import UnavailableError
from gnomon.v1 import rollouts_pb2

from .observed import Orders, check
from .processes import CANARY, Keys, Plane, Service, until
from .proxy import Proxy

#: What may be ordered in a state.
ALLOWED = {
    "SHADOW": ("hold", "abort"),
    "CANARY": ("hold", "abort", "promote"),
    "RAMP": ("hold", "abort"),
    "FULL": ("hold", "abort"),
    "HOLD": ("resume", "abort", "retry", "promote"),
    "ABORTED": ("retry",),
}


def steer(client: RolloutClient, orders: Orders, rollout: str, rng: random.Random) -> None:
    """Give orders, each under a request of its own, until the control plane is gone.

    Raises:
        UnavailableError: it is; the last order's request is in ``orders.events``.
    """
    while True:
        state = rollouts_pb2.State.Name(client.get(rollout).state)
        orders.act(client, rollout, rng.choice(ALLOWED[state]))


def killed_once(
    plane: Plane, proxy: Proxy, orders: Orders, rollout: str, rng: random.Random
) -> None:
    """Kill the control plane at some moment among orders, start it, and give the last order again."""
    timer = threading.Timer(rng.uniform(0.0, 0.2), plane.signal, (signal.SIGKILL,))
    with RolloutClient(plane.address) as client:
        timer.start()
        with contextlib.suppress(UnavailableError):
            steer(client, orders, rollout, rng)
    plane.kill()
    proxy.target = plane.start()
    last = [event for event in orders.events if hasattr(event, "request")][-1:]
    with RolloutClient(plane.address) as client:
        orders.seen(client.get(rollout))
        for event in last:  # was it done or not? the same request again tells
            if hasattr(event, "action"):
                orders.act(client, rollout, event.action, event.request)


def comes_back(plane: Plane, rollout: str) -> None:
    """Wait until the service has acknowledged what is in force."""
    with RolloutClient(plane.address) as client:

        def in_force() -> bool:
            # Asked anew: a slow machine's blocks are left out, and the rollout may move by itself.
            epoch = client.get(rollout).epoch
            return any(c.epoch == epoch for c in client.clients())

        until(in_force, "the service comes back")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kills", "seed"), [(4, 1), pytest.param(300, 2, marks=pytest.mark.soak)])
def test_no_acknowledged_transition_is_lost_or_repeated(
    made: Keys,
    plane: Plane,
    make_service: Callable[..., Service],
    proxy: Proxy,
    kills: int,
    seed: int,
) -> None:
    rng, orders, service = random.Random(seed), Orders(made), make_service()
    proxy.target = plane.start()
    service.start(proxy.address)
    with RolloutClient(plane.address) as client:
        rollout = orders.ship(client, "weight", CANARY)
        orders.act(client, rollout, "hold")
    for _ in range(kills):
        killed_once(plane, proxy, orders, rollout, rng)
        if rng.random() < 0.1:  # else it would seldom find the control plane alive
            comes_back(plane, rollout)
    with RolloutClient(plane.address) as client:
        if rollouts_pb2.State.Name(client.get(rollout).state) != "ABORTED":
            orders.act(client, rollout, "abort")
    comes_back(plane, rollout)
    assert service.stop() == 0
    assert plane.stop() == 0
    assert check(made, orders, [service], plane.state) == []
    assert len([e for e in orders.events if hasattr(e, "action")]) > kills  # each is given again
