"""Disks that take nothing more, below the control plane and below a service."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gnomon.policies.rollout.client import RolloutClient
from gnomon.sdk.errors import RolloutError

from .processes import CANARY, CANDIDATE, Keys, Plane, Service, newest, until
from .scene import Scene

#: Less than a page of a database with its heading, so that no transaction fits; logs still do.
NO_ROOM = 4096


def serving(address: str) -> bool:
    """Return whether the control plane calls itself healthy."""
    with grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_a_full_disk_refuses_orders_ends_candidates_and_is_made_good(scene: Scene) -> None:
    before = scene.client.get(scene.rollout)
    scene.plane.limit_files(NO_ROOM)
    with pytest.raises(
        RolloutError, match=r"rollouts\.db cannot be written: .*nothing was changed"
    ):
        scene.orders.act(scene.client, scene.rollout, "hold")
    assert scene.client.get(scene.rollout).state == before.state
    assert scene.client.get(scene.rollout).epoch == before.epoch
    until(lambda: not serving(scene.plane.address), "health says so")
    scene.service.comes_to(0, what="leases are not renewed")
    scene.plane.limit_files(-1)
    until(lambda: serving(scene.plane.address), "health says that it is over")
    scene.hold_and_resume()
    assert scene.plane.said().count("a tick failed") < 10, "once per cause, not ten times a second"
    assert "Traceback" not in scene.plane.said()
    scene.ends()


def test_an_order_that_cannot_be_stored_has_not_happened(world: Any) -> None:
    rollout = world.ship()
    epoch, before = world.control.epoch("router.pick"), world.control.get()
    fill(world.store._database._engine.raw_connection())
    for action in ("hold", "abort", "kill"):
        with pytest.raises(RolloutError, match="full; nothing was changed: free space"):
            world.control.act(rollout, action, "op", "drill " * 2000, "r1")
        assert (world.control.epoch("router.pick"), world.control.get()) == (epoch, before)
    assert {process.policy.guard.epoch for process in world.processes} == {epoch}
    world.restart()
    assert (world.control.epoch("router.pick"), world.control.get()) == (epoch, before)
    world.control.act(rollout, "hold", "op", "drill", "r1")
    assert world.control.get().status.value == "HOLD", "the refused request was not used up"


def test_a_plan_that_cannot_be_stored_leaves_the_old_one_in_force(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.ship()
    world.control.act(first, "abort", "op", "drill", "")
    before = world.processes[0].manifest.SerializeToString()

    def full(*change: Any) -> None:
        raise RolloutError("rollouts.db cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "save", full)  # the bundle is kept already
        with pytest.raises(RolloutError, match="cannot be written"):
            world.ship(source="def score(inflight):\n    return 2 * inflight\n")
    world.control._manifests._signed.clear()  # signed anew
    world.greet(world.processes[0])
    assert world.processes[0].manifest.SerializeToString() == before
    assert [state.plan.id for state in world.control.rollouts()] == [first]


def test_an_order_stands_while_the_ledger_is_full_and_is_told_to_it_later(world: Any) -> None:
    rollout = world.ship()
    known = len(world.ledger.list())
    fill(world.ledger._connection)
    world.control.act(rollout, "hold", "op", "drill " * 2000, "")
    assert world.control.get().status.value == "HOLD"
    assert len(world.ledger.list()) == known
    world.ledger._connection.execute("pragma max_page_count=1000000")
    world.control.tick()
    (told,) = world.ledger.list()[known:]
    assert told.body["cause"].startswith("drill")
    assert world.ledger.verify().ok


def fill(connection: Any) -> None:
    """Let a database grow no further."""
    (pages,) = connection.execute("pragma page_count").fetchone()
    connection.execute(f"pragma max_page_count={pages}")


def test_a_service_whose_state_folder_is_full_goes_on_from_memory(
    made: Keys, plane: Plane, make_service: Callable[..., Service]
) -> None:
    """On a file system of one page, within a namespace of its own."""
    service = make_service()
    service.state.mkdir()
    mount = f'mount -t tmpfs -o size=4k none "{service.state}" && exec "$@"'
    service.prefix = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
    if not allowed(service.state):
        pytest.skip("this machine lets nobody mount in a namespace of his own")
    service.start(plane.start())
    with RolloutClient(plane.address) as client:
        rollout = made.ship(client, "weight", CANARY).id
        newest(client, rollout, "CANARY")
        until(lambda: CANDIDATE in service.picks(), "the candidate decides")
        epoch = client.act(rollout, "kill", "op", "drill").epoch
        until(lambda: all(c.epoch == epoch for c in client.clients()), "it is acknowledged")
        service.comes_to(0)
    assert "No space left on device" in service.said()
    assert "kept in memory only" in service.said()
    assert service.stop() == 0


def allowed(folder: Path) -> bool:
    """Return whether a file system can be mounted here without being root."""
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    command += ["mount", "-t", "tmpfs", "none", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
