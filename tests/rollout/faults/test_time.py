"""Processes that stand still for a while, and clocks that are wrong or are set."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gnomon.v1 import rollouts_pb2

from .processes import CANDIDATE, LEASE_NS, until
from .scene import Scene

MINUTE = 60 * 1_000_000_000


def test_a_service_that_stood_still_beyond_its_lease_wakes_up_with_stable(scene: Scene) -> None:
    scene.proxy.turn(up=False, down=False)  # else renewals would wait in the socket, fresh enough
    scene.service.signal(signal.SIGSTOP)
    time.sleep(LEASE_NS / 1e9 + 0.2)  # it is the lease that must run out, so it takes its time
    woken = time.monotonic_ns()
    scene.service.signal(signal.SIGCONT)
    scene.service.comes_to(0)
    assert CANDIDATE not in scene.service.picks(woken), "nothing of before the stop is gone on with"
    scene.proxy.turn()
    until(lambda: CANDIDATE in scene.service.picks(woken), "with a new lease it is tried again")
    scene.ends()


def test_a_control_plane_that_stands_still_ends_the_candidate_and_goes_on(scene: Scene) -> None:
    scene.plane.signal(signal.SIGSTOP)
    still = time.monotonic_ns()
    scene.service.comes_to(0)
    scene.plane.signal(signal.SIGCONT)
    rows = [row for row in scene.service.lines("decided") if row["pick"] == CANDIDATE]
    assert rows[-1]["last"] <= still + LEASE_NS
    back = time.monotonic_ns()
    until(lambda: CANDIDATE in scene.service.picks(back), "the candidate is tried again")
    scene.hold_and_resume()
    scene.ends()


@pytest.mark.soak
@pytest.mark.parametrize("off_s", [50.0, -50.0])
def test_a_services_clock_within_the_tolerance_changes_nothing(
    make_scene: Callable[..., Scene], tmp_path: Path, off_s: float
) -> None:
    clock = tmp_path / "clock"
    clock.write_text(str(round(off_s * 1e9)))
    scene = make_scene(service_clock=clock)
    scene.hold_and_resume()
    scene.ends()


def test_a_services_clock_that_is_set_far_off_refuses_the_candidate_until_it_is_right(
    make_scene: Callable[..., Scene], tmp_path: Path
) -> None:
    """By two minutes ahead: leases are on the monotonic clock, manifests look long expired."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    scene = make_scene(service_clock=clock)
    clock.write_text(str(2 * MINUTE))
    scene.service.comes_to(0, what="no lease is renewed")
    refused = [line["error"] for line in scene.service.lines("ack") if not line["ok"]]
    assert any("check this machine's clock" in line for line in refused), refused
    found = until(lambda: _held(scene), "the control plane is told and holds the rollout")
    assert "manifest expired" in found
    clock.write_text("0")
    scene.resume()
    back = time.monotonic_ns()
    until(lambda: CANDIDATE in scene.service.picks(back), "it is tried again")
    scene.ends()


@pytest.mark.parametrize(
    "jump_s",
    [-3600.0, pytest.param(3600.0, marks=pytest.mark.soak)],
)
def test_a_control_planes_clock_that_is_set_gives_no_candidate_a_longer_life(
    make_scene: Callable[..., Scene], tmp_path: Path, jump_s: float
) -> None:
    """An hour back: what it signs looks expired. An hour ahead: it looks to be of the future."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    scene = make_scene(plane_clock=clock)
    clock.write_text(str(round(jump_s * 1e9)))
    scene.service.comes_to(0, what="no lease is renewed")
    known = len(scene.client.get(scene.rollout).transitions)
    clock.write_text("0")
    if not _held(scene):
        scene.orders.act(scene.client, scene.rollout, "hold")
    scene.resume()
    back = time.monotonic_ns()
    until(lambda: CANDIDATE in scene.service.picks(back), "it is tried again")
    assert len(scene.client.get(scene.rollout).transitions) > known
    scene.ends()


def _held(scene: Scene) -> str:
    """Return why the rollout is held; empty where it is not."""
    last = scene.client.get(scene.rollout).transitions[-1]
    return last.cause if last.to == rollouts_pb2.HOLD else ""
