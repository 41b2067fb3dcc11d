"""How fast a policy is taken back, on real processes: one control plane, several services.

The services and the control plane are those of the fault tests: every service decides about 400 times a
second and writes down which policy decided, on the clock that all processes of a machine share. Nothing
is taken from what the product says of itself, but for the number of faults.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from results import ROOT, Row

SERVICES, ROUNDS = 6, 5
FLEET_MS = 300.0

if str(ROOT) not in sys.path:  # the processes are the tests' own
    sys.path.append(str(ROOT))

from gnomon.policies.rollout.client import RolloutClient
from gnomon.sdk.limits import Limits
from tests.rollout.faults.processes import (
    CANARY,
    CANDIDATE,
    Keys,
    Plane,
    Service,
    newest,
    until,
)


def rows() -> list[Row]:
    """Return the rows of rollback: this call, the next call, the fleet."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with tempfile.TemporaryDirectory() as folder:
        found = [*_guard(Path(folder))]
    with tempfile.TemporaryDirectory() as folder:
        return [*found, *_fleet(Path(folder))]


def _started(folder: Path, count: int, stack: ExitStack) -> tuple[Keys, Plane, list[Service]]:
    made = Keys.made(folder)
    plane = Plane(made, folder)
    stack.callback(plane.kill)
    plane.start()
    services = [Service(made, folder, f"service-{number}") for number in range(count)]
    for service in services:
        stack.callback(service.kill)
        service.start(plane.address)
    return made, plane, services


def _guard(folder: Path) -> Iterator[Row]:
    """Give all traffic to a policy that faults in every call; count what callers saw of it."""
    with ExitStack() as stack:
        made, plane, (service,) = _started(folder, 1, stack)
        with RolloutClient(plane.address) as client:
            rollout = made.ship(client, "faulty", CANARY).id
            newest(client, rollout, "CANARY", "ABORTED")
            # The breaker of the first candidate block has it aborted, or the next one's.
            newest(client, rollout, "ABORTED")
        assert service.stop() == 0
        (end,) = service.lines("stopped")
        runs = service.lines("decided")
    faults = end["counters"]["fallbacks"]
    assert faults, "the policy was never asked"
    calls = sum(run["count"] for run in runs)
    wrong = float(sum(run["count"] for run in runs if run["pick"] != 0))
    note = f"{calls} calls, {faults} of them with a fault: each got the function's answer"
    yield Row(
        "rollback, same call: calls that a faulting policy answered or broke",
        wrong,
        "calls",
        "lower",
        0.0,
        (wrong, wrong),
        note=note,
    )
    late = float(faults - Limits().faults)
    yield Row(
        "rollback, next call: calls that asked the policy after the breaker's last fault",
        late,
        "calls",
        "lower",
        0.0,
        (late, late),
        note=f"{Limits().faults} faults trip it; {end['breaker'] or 'taken back'}",
    )


def _fleet(folder: Path) -> Iterator[Row]:
    """Take a policy back that has all traffic; see when the last process stopped running it."""
    decided, acked = [], []
    with ExitStack() as stack:
        made, plane, services = _started(folder, SERVICES, stack)
        with RolloutClient(plane.address) as client:
            rollout = made.ship(client, "weight", CANARY).id
            for number in range(ROUNDS):
                if number:
                    client.act(rollout, "retry", "bench", "round")
                newest(client, rollout, "CANARY")
                client.act(rollout, "promote", "bench", "round")
                for service in services:
                    service.comes_to(CANDIDATE)
                verdict = client.act(rollout, "abort", "bench", "round")
                when = verdict.transitions[-1].time_unix_ns
                lines = [_back(service, verdict.epoch, when) for service in services]
                decided.append(max(line[0] for line in lines) / 1e6)
                acked.append(max(line[1] for line in lines) / 1e6)
    note = f"{SERVICES} processes, each of {ROUNDS} rounds its slowest; the verdict is an order"
    for name, found in (
        ("last decision of the policy in any process", decided),
        ("last process's acknowledgement", acked),
    ):
        yield Row(
            f"rollback, fleet: from the verdict to the {name}",
            median(found),
            "ms",
            "lower",
            FLEET_MS,
            (min(found), max(found)),
            note=note,
        )


def _back(service: Service, epoch: int, when: int) -> tuple[int, int]:
    """Return ns from a verdict to a process's last decision of the candidate, and to its answer."""
    answer = until(
        lambda: [line for line in service.lines("ack") if line["ok"] and line["epoch"] == epoch],
        f"{service.name} acknowledges epoch {epoch}",
    )[0]
    service.comes_to(0)
    shift = answer["unix"] - answer["ns"]
    runs = [run for run in service.lines("decided") if run["pick"] == CANDIDATE]
    last = max(run["last"] for run in runs) + shift
    return max(0, last - when), answer["unix"] - when
