"""A control plane and services as processes of their own; all are gone after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .processes import Keys, Plane, Process, Service
from .proxy import Proxy


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
