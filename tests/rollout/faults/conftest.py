"""A control plane and services as processes of their own; all are gone after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gnomon.policies.rollout.client import RolloutClient

from .observed import Orders
from .processes import CANARY, CANDIDATE, Keys, Plane, Process, Service, newest, until
from .proxy import Proxy
from .scene import Scene


@pytest.fixture
def made(tmp_path: Path) -> Keys:
    """Keys on disk."""
    return Keys.made(tmp_path)


@pytest.fixture
def children() -> Iterator[list[Process]]:
    """Processes to be killed in the end."""
    started: list[Process] = []
    yield started
    for process in started:
        process.kill()


@pytest.fixture
def plane(made: Keys, tmp_path: Path, children: list[Process]) -> Plane:
    """A control plane that is not started yet."""
    found = Plane(made, tmp_path)
    children.append(found)
    return found


@pytest.fixture
def make_service(made: Keys, tmp_path: Path, children: list[Process]) -> Callable[..., Service]:
    """Make services that are not started yet, each with a name of its own."""

    def make(name: str = "service", clock: Path | None = None) -> Service:
        children.append(Service(made, tmp_path, name, clock))
        return children[-1]  # type: ignore[return-value]

    return make


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy whose target is still to be named."""
    with Proxy("127.0.0.1:1") as found:
        yield found


@pytest.fixture
def make_scene(
    made: Keys, plane: Plane, make_service: Callable[..., Service], proxy: Proxy
) -> Iterator[Callable[..., Scene]]:
    """Start a canary at half of the blocks; both may be given a clock, in the file of that name."""
    clients: list[RolloutClient] = []

    def start(plane_clock: Path | None = None, service_clock: Path | None = None) -> Scene:
        plane.clock = plane_clock
        proxy.target = plane.start()
        service = make_service(clock=service_clock)
        service.start(proxy.address)
        clients.append(RolloutClient(plane.address))
        found = Scene(made, plane, service, proxy, clients[-1], Orders(made))
        found.rollout = found.orders.ship(clients[-1], "weight", CANARY)
        newest(clients[-1], found.rollout, "CANARY")
        until(lambda: CANDIDATE in service.picks(), "the candidate decides")
        return found

    yield start
    for client in clients:
        client.close()


@pytest.fixture
def scene(make_scene: Callable[..., Scene]) -> Scene:
    """A canary under way."""
    return make_scene()
