"""Back to an older stable policy, then another try, with both sides dead in between."""

from __future__ import annotations

from collections.abc import Callable

from gnomon.policies.rollout.client import RolloutClient

from .processes import CANARY, POLICIES, QUICK, Keys, Plane, Service, newest
from .proxy import Proxy


def test_abort_to_an_older_stable_then_retry_works_after_a_cold_restart_of_both(
    made: Keys, plane: Plane, make_service: Callable[..., Service], proxy: Proxy
) -> None:
    service = make_service()
    proxy.target = plane.start()
    service.start(proxy.address)
    with RolloutClient(plane.address) as client:
        first = made.ship(client, "ewma_ms", QUICK)
        newest(client, first.id, "CANARY", "FULL")
        client.act(first.id, "promote", "op", "drill")
        newest(client, first.id, "STABLE")
        service.comes_to(POLICIES["ewma_ms"])
        second = made.ship(client, "weight", CANARY, stable=made.digest("ewma_ms"))
        newest(client, second.id, "CANARY")
        service.comes_to(1, 3)
        before = client.act(second.id, "abort", "op", "drill").epoch
        service.comes_to(1, what="the older stable decides")
    plane.kill()
    service.kill()

    proxy.target = plane.start()
    service.start(proxy.address)
    service.comes_to(1, what="the older stable decides after a restart")
    with RolloutClient(plane.address) as client:
        assert client.get(second.id).serving == made.digest("ewma_ms")
        again = client.act(second.id, "retry", "op", "drill")
        assert again.epoch > before
        newest(client, second.id, "CANARY")
        service.comes_to(1, 3)
        assert client.verify().ok
    assert not [line for line in service.lines("ack") if not line["ok"]]
