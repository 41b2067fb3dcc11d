"""A policy that fails is taken back in the call, in the process, and in the fleet."""

from __future__ import annotations

from collections.abc import Callable

from gnomon.policies.rollout.client import RolloutClient
from gnomon.sdk.limits import Limits

from .observed import Orders, check
from .processes import CANARY, Keys, Plane, Service, newest


def test_no_caller_sees_a_faulting_policy_and_one_process_stops_it_everywhere(
    made: Keys, plane: Plane, make_service: Callable[..., Service]
) -> None:
    services, orders = [make_service("first"), make_service("second")], Orders(made)
    address = plane.start()
    for service in services:
        service.start(address)
    with RolloutClient(address) as client:
        rollout = orders.ship(client, "faulty", CANARY)
        final = newest(client, rollout, "ABORTED")
        assert "took the candidate back" in final.transitions[-1].cause
    ends = []
    for service in services:
        assert service.stop() == 0
        ends += service.lines("stopped")
        assert service.picks() == {0}, "every call got the function's answer"
    faults = [end["counters"]["fallbacks"] for end in ends]
    assert max(faults) == Limits().faults, "not one more is asked of it after that"
    assert plane.stop() == 0
    assert check(made, orders, services, plane.state) == []
