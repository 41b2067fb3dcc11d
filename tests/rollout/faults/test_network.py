"""A bad network between a service and its control plane: the service decides on, and comes back."""

from __future__ import annotations

import time

import pytest

from .processes import CANDIDATE, LEASE_NS, until
from .scene import Scene


def test_slow_split_cut_and_half_closed_connections_lose_nothing(scene: Scene) -> None:
    """Delays of 50 ms, bytes in pieces of 7, RSTs, half-closes, and two connections at once."""
    scene.proxy.turn(delay_s=0.05)
    scene.hold_and_resume()
    scene.proxy.turn(chunk=7)
    scene.hold_and_resume()
    scene.proxy.turn()
    for trouble in (scene.proxy.cut, scene.proxy.half_close, scene.proxy.linger):
        before = scene.proxy.accepted
        trouble()
        until(lambda before=before: scene.proxy.accepted > before, "the service connects again")
        scene.hold_and_resume()
    calls = scene.service.lines("decided")
    assert max(call["slowest"] for call in calls) < 1_000_000_000, "no call waits for the network"
    scene.ends()


@pytest.mark.parametrize(
    "silent",
    [
        {"down": False},
        pytest.param({"up": False}, marks=pytest.mark.soak),
        pytest.param({"up": False, "down": False}, marks=pytest.mark.soak),
    ],
)
def test_a_direction_that_is_silent_ends_the_candidate_with_its_lease(
    scene: Scene, silent: dict[str, bool]
) -> None:
    """No byte passes and no connection ends: all that the service has is its lease."""
    scene.proxy.turn(**silent)
    dark = time.monotonic_ns()
    scene.orders.act(scene.client, scene.rollout, "hold")
    scene.service.comes_to(0, what="the candidate ends")
    rows = scene.service.lines("decided")
    late = max((row["last"] for row in rows if row["pick"] == CANDIDATE), default=0)
    assert late <= dark + LEASE_NS, "the lease was given before it went dark"
    scene.proxy.turn()
    scene.resume()
    back = time.monotonic_ns()
    until(lambda: CANDIDATE in scene.service.picks(back), "the candidate is tried again")
    scene.ends()


def test_a_control_plane_out_of_reach_is_found_again(scene: Scene) -> None:
    """Connections are reset at once; the stable arm decides until one is let through."""
    scene.proxy.turn(refuse=True)
    scene.proxy.cut()
    scene.service.comes_to(0, what="the candidate ends")
    scene.proxy.turn()
    scene.hold_and_resume()
    scene.ends()
