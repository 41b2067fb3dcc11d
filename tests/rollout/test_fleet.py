"""A fleet against a real control plane: connected, pushed, killed, reconnected; nobody is left behind."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gnomon.policies.rollout.client import RolloutClient

from ..conftest import ROOT


@pytest.fixture
def fleets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The fleet of ``benchmarks/``."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("_fleet")


@pytest.mark.timeout(120)
def test_a_hundred_processes_are_on_the_right_epoch_whatever_happens(
    fleets: Any, tmp_path: Path
) -> None:
    _through_everything(fleets, tmp_path, fleets.Shape(100, verify=2))


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_thousand_processes_are_on_the_right_epoch_whatever_happens(
    fleets: Any, tmp_path: Path
) -> None:
    _through_everything(fleets, tmp_path, fleets.Shape(1000))


def _through_everything(fleets: Any, folder: Path, shape: Any) -> None:
    with (
        fleets.control_plane(folder) as plane,
        RolloutClient(plane.address) as client,
        fleets.fleet(plane, shape) as clients,
    ):
        rollout = plane.ship(client)

        def settled(epoch: int) -> None:
            fleets.until(
                lambda: fleets.acknowledged(client, epoch, shape.clients), f"all on epoch {epoch}"
            )
            fleets.until(lambda: set(clients.epochs().values()) == {epoch}, "and they say so")

        settled(1)
        settled(fleets.order(client, rollout, "abort"))
        settled(fleets.order(client, rollout, "retry"))
        plane.kill()
        plane.start()
        settled(3)
        _doubled(fleets, plane, client, shape, 3)
        settled(fleets.order(client, rollout, "kill"))
        assert client.get(rollout).epoch == 4
        check = client.verify()
        assert check.ok, check.problem
        made = [entry for entry in client.entries() if entry.kind == "rollout.transition"]
        assert [entry.body["to"] for entry in made] == ["SHADOW", "ABORTED", "SHADOW", "ABORTED"]
        _in_order(clients.collect(), shape.clients)


def _doubled(fleets: Any, plane: Any, client: RolloutClient, shape: Any, epoch: int) -> None:
    """Start processes with the ids of others for a while: the seats are the ids', not twice theirs."""
    few = replace(shape, clients=10, processes=1)
    with fleets.fleet(plane, few) as doubles:
        fleets.until(lambda: set(doubles.epochs().values()) == {epoch}, "doubles are served")
    assert len(client.clients(fleets.HOOK)) == shape.clients


def _in_order(acks: list[Any], clients: int) -> None:
    """No client ever acknowledged an older epoch than one that it had acknowledged."""
    newest: dict[int, int] = {}
    for ack in acks:
        assert ack.epoch >= newest.get(ack.number, 0), ack
        newest[ack.number] = ack.epoch
    assert set(newest.values()) == {4}
    assert len(newest) == clients
