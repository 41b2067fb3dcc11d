"""A service with one hook, run as a process of its own; it writes down what it runs.

Four backends, of which the first is what the function picks; every policy of these tests picks another
one, so what decided is told from the pick itself. The log has one JSON object a line, with the time on
the monotonic clock, which all processes of a machine share:

``received``   a manifest has come: its envelope, in base64
``installed``  a manifest is in force: epoch, content (digest of its payload), phase, whether ``resumed``
``ack``        an answer to the control plane is about to be sent: resource, name, epoch, ok, error
``decided``    decisions in a row with the same pick under the same epoch: the first's and the last's
               start, and how many
``stopped``    the hook's counters at the end, and why its breaker tripped
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import signal
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import gnomon
from gnomon.sdk import delivery
from gnomon.v1 import policy_pb2

NAME = "faults.pick"
PAUSE_S = 0.002
_log = os.open(os.environ["FAULTS_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def write(kind: str, **fields: Any) -> None:
    """Write one line whole."""
    line = json.dumps({"kind": kind, "ns": time.monotonic_ns(), "unix": time.time_ns(), **fields})
    os.write(_log, line.encode() + b"\n")


#: Held while deciding and while installing, so that the log tells which came first.
TURN = threading.Lock()


class Client(delivery.DeliveryClient):
    """The delivery client, with a pen."""

    def _handled(self, session: Any, message: Any) -> Any:
        if message.WhichOneof("resource") == "manifest":
            envelope = message.manifest.envelope.SerializeToString()
            write("received", envelope=base64.b64encode(envelope).decode())
        return super()._handled(session, message)

    def _count(self, ack: Any) -> None:
        super()._count(ack)
        write(
            "ack", resource=ack.resource, name=ack.name, epoch=ack.epoch, ok=ack.ok, error=ack.error
        )


class Held(delivery.Holdings):
    """What delivery holds, with a pen."""

    def _install(self, name: str, assignment: Any) -> None:
        with TURN:
            super()._install(name, assignment)
            self._wrote(name, assignment.phase, resumed=False)

    def _take_up(self, hook: Any) -> None:
        with TURN:
            super()._take_up(hook)
            if self.policies[hook.name].guard.current is not None:
                self._wrote(hook.name, hook.assignment.phase, resumed=True)

    def _wrote(self, name: str, phase: str, *, resumed: bool) -> None:
        guard = self.policies[name].guard
        assert guard.current is not None
        payload = policy_pb2.Envelope.FromString(guard.current.saved.manifest).payload
        content = hashlib.sha256(payload).hexdigest()
        write("installed", epoch=guard.epoch, content=content, phase=phase, resumed=resumed)


class Runs:
    """Decisions in a row that are alike, written down as one line."""

    def __init__(self) -> None:
        self.key: tuple[int, int] | None = None
        self.first = self.last = self.count = self.spent = 0

    def add(self, pick: int, epoch: int, start: int) -> None:
        """Count a decision; write the row that it ends, or that has lasted for 50 ms."""
        if (pick, epoch) != self.key or start - self.first > 50_000_000:
            self.flush()
            self.key, self.first, self.count, self.spent = (pick, epoch), start, 0, 0
        self.last, self.count = start, self.count + 1
        self.spent = max(self.spent, time.monotonic_ns() - start)

    def flush(self) -> None:
        """Write what there is."""
        if self.key is not None and self.count:
            pick, epoch = self.key
            write(
                "decided",
                pick=pick,
                epoch=epoch,
                first=self.first,
                last=self.last,
                count=self.count,
                slowest=self.spent,
            )
        self.count = 0


@gnomon.hook(
    NAME,
    kind=gnomon.load_balancer,
    items="backends",
    item_features=lambda backend: (backend.inflight, backend.ewma_ms, backend.weight),
)
def pick(backends: list[Any]) -> Any:
    """Pick the first."""
    return backends[0]


def main() -> None:
    """Decide until SIGTERM."""
    write("started", pid=os.getpid())
    delivery.DeliveryClient = Client  # type: ignore[misc]  # what configure makes
    delivery.Holdings = Held  # type: ignore[misc]  # what that makes
    gnomon.configure(flush_interval_s=0.05)
    slow = float(os.environ.get("FAULTS_CANDIDATE_MS", "20"))
    # (inflight, latency, weight): a policy on one of the three picks the backend that is least in it.
    backends = [
        SimpleNamespace(inflight=5, ewma_ms=60.0, weight=5.0, number=0),
        SimpleNamespace(inflight=5, ewma_ms=20.0, weight=5.0, number=1),
        SimpleNamespace(inflight=0, ewma_ms=60.0, weight=5.0, number=2),
        SimpleNamespace(inflight=5, ewma_ms=60.0, weight=1.0, number=3),
    ]
    true_ms = [60.0, slow, 30.0, 25.0]
    rng, runs, going = random.Random(1), Runs(), [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    while going:
        with TURN:
            start, epoch = time.monotonic_ns(), pick.hook.assignment.epoch
            with pick.decide(backends) as decision:
                number = decision.action.number
                decision.outcome(latency_ms=true_ms[number] * rng.uniform(0.8, 1.2), ok=True)
            runs.add(number, epoch, start)
        time.sleep(PAUSE_S)
    runs.flush()
    write("stopped", counters=dict(pick.hook.counters), breaker=pick.hook.breaker)
    gnomon.shutdown()


if __name__ == "__main__":
    sys.exit(main())
