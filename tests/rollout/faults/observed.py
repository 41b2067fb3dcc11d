"""The history of real processes, for the checker in ``history.py``.

What services did comes from their logs, what operators did from :class:`Orders`, and what became of it
from the control plane at the end. What a manifest says counts as published if, and only if, its
signature holds under the control plane's key: the test verifies that itself.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from gnomon.policies.rollout.client import RolloutClient
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk import dsse
from gnomon.sdk.errors import GnomonError, RolloutError, TrustError
from gnomon.v1 import policy_pb2, rollouts_pb2

from .. import events, history
from .processes import HOOK, POLICIES, Keys, Service


class Orders:
    """Gives orders and remembers them with their answers.

    Args:
        made: keys, to ship with.
    """

    def __init__(self, made: Keys) -> None:
        self._keys = made
        self._numbers = itertools.count(1)
        self.events: list[events.Event] = []

    def ship(self, client: RolloutClient, feature: str, ramp: Any, **how: str) -> str:
        """Ship a policy; return its rollout's id."""
        found = self._keys.ship(client, feature, ramp, **how)
        self.events.append(
            events.Planned(
                time.monotonic_ns(),
                "ci",
                HOOK,
                found.id,
                how.get("stable", "incumbent"),
                found.candidate,
                tuple(ramp.weights),
                round(ramp.lease_s * 1e9),
                time.monotonic_ns() + round(ramp.valid_s * 1e9),
            )
        )
        return found.id

    def act(
        self, client: RolloutClient, rollout: str, action: str, request: str = ""
    ) -> rollouts_pb2.Rollout:
        """Give an order, or repeat the one of a request; raises what the client does."""
        request = request or f"request-{next(self._numbers)}"
        self.events.append(events.Ordered(time.monotonic_ns(), "op", request, rollout, action))
        try:
            found = client.act(rollout, action, "op", request, request)
        except RolloutError:
            self.events.append(events.Answered(time.monotonic_ns(), "op", request, False))
            raise
        self.events.append(events.Answered(time.monotonic_ns(), "op", request, True))
        self.seen(found)
        return found

    def seen(self, found: rollouts_pb2.Rollout) -> None:
        """Note all transitions that were shown."""
        for number, made in enumerate(found.transitions):
            self.events.append(
                events.Moved(time.monotonic_ns(), "op", found.id, number, *_move(made))
            )


def check(
    made: Keys, orders: Orders, services: Iterable[Service], state: Path, **how: Any
) -> list[str]:
    """Return what the processes did that they must not; both sides must have ended.

    Args:
        made: keys of the control plane.
        orders: all that were given.
        services: whose logs are read.
        state: folder of the control plane.
        how: further arguments of the checker.
    """
    happened = list(orders.events)
    for service in services:
        happened += _ran(made, service)
    happened.sort(key=lambda event: event.time_ns)
    happened += [*_settled(state), *_entries(state)]
    return history.check(happened, **how)


def _ran(made: Keys, service: Service) -> Iterator[events.Event]:
    """Yield what a service's log tells, times on the monotonic clock."""
    names = {0: events.INCUMBENT} | {n: made.digest(f) for f, n in POLICIES.items()}
    for line in service.lines():
        when = (line["ns"], service.name)
        if line["kind"] == "started":
            yield events.Restarted(*when)
        elif line["kind"] == "received":
            with suppress(TrustError):
                yield _published(made, line)
        elif line["kind"] == "installed":
            yield events.Installed(*when, HOOK, line["epoch"], line["content"], line["resumed"])
        elif line["kind"] == "ack" and line["resource"] == "manifest":
            if line["ok"]:
                yield events.Acked(*when, HOOK, line["epoch"])
            else:
                yield events.Nacked(*when, HOOK, line["epoch"], line["error"])
        elif line["kind"] == "decided":
            for start in (line["first"], line["last"]):
                digest = names[line["pick"]]
                yield events.Decided(start, service.name, HOOK, line["epoch"], "", digest)


def _published(made: Keys, line: dict[str, Any]) -> events.Published:
    envelope = policy_pb2.Envelope.FromString(base64.b64decode(line["envelope"]))
    payload = dsse.verify(envelope, dsse.MANIFEST_TYPE, (made.rollout.public_key(),))
    manifest = policy_pb2.Manifest.FromString(payload)
    plan = policy_pb2.RampPlan.FromString(
        dsse.verify(manifest.plan, dsse.PLAN_TYPE, (made.publisher.public_key(),))
    )
    return events.Published(
        line["ns"],
        events.CONTROL,
        HOOK,
        plan.id,
        manifest.epoch,
        hashlib.sha256(payload).hexdigest(),
        manifest.stable,
        manifest.candidate,
        policy_pb2.Phase.Name(manifest.phase).removeprefix("PHASE_").lower(),
        manifest.weight,
        manifest.kill,
        line["ns"] - (line["unix"] - manifest.issued_unix_ns),
    )


def _settled(state: Path) -> Iterator[events.Event]:
    """Yield every rollout as the store has it, read without the product."""
    with sqlite3.connect(f"file:{state / 'rollouts.db'}?mode=ro", uri=True) as connection:
        rows = connection.execute("select id, state from rollouts").fetchall()
    connection.close()
    for rollout, text in rows:
        moves = json.loads(text)["transitions"]
        told = tuple((m["before"], m["after"], m["cause"]) for m in moves)
        yield events.Settled(time.monotonic_ns(), events.CONTROL, rollout, told)


def _entries(state: Path) -> Iterator[events.Event]:
    ledger = Ledger(state / "ledger.db")
    found, check_ = ledger.list(), ledger.verify()
    ledger.close()
    if not check_.ok:
        raise GnomonError(check_.problem)
    for entry in found:
        body = entry.body
        yield events.Entry(
            entry.time_ns,
            events.CONTROL,
            entry.seq,
            entry.previous.hex(),
            entry.hash.hex(),
            entry.kind,
            entry.subject,
            int(body.get("event", 0)),
            *(str(body.get(name, "")) for name in ("from", "to", "cause", "order")),
        )


def _move(made: Any) -> tuple[str, str, str]:
    names = rollouts_pb2.State.Name
    return names(getattr(made, "from")), names(made.to), made.cause
