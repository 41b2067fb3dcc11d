"""Shipping: what a fleet of 1,000 processes costs a control plane, and how fast it follows.

One real ``gnomon serve`` with its store and ledger on disk; 1,000 clients with a connection and a stream
each, in two processes on the same machine, whose work is in every time here. One client in ten is what a
service runs (``Session``, ``HookPolicy``) and verifies both signatures of each manifest; the others read
the epoch and answer, as the verification of 1,000 machines does not fit into one. Times run from an order, sent
to the control plane over its API, to each client's written acknowledgement, which a service gives after
the policy is in force. The peer is a bare grpc.aio server that sends the same bytes to as many streams and
counts the answers: no store, no state, no signatures. Targets in time are scaled by a bare call.

Canaries are simulated before that, through the statistics that decide real ones: equal policies in each
regime, and effects. The runs are kept, so that a stopped benchmark goes on where it was (``_canary.py``).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import IO, cast

import _canary
import _drift
import _fleet
import _ledger
import _rollback
from _fleet import Ack, Fleet, Plane, Shape, acknowledged, control_plane, fleet, order, until
from _scaling import bare_call_ns, scaled
from results import Peer, Row

from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.client import RolloutClient
from gnomon.sdk import dsse, keys
from gnomon.sdk.bundle import build_bundle, open_bundle
from gnomon.sdk.language import check

CLIENTS = 1000
PUSHES = 6
REPORTING = 200
REPORTING_S = 8.0


def run() -> list[Row]:
    """Simulate canaries, measure a control plane under a fleet, then what needs none."""
    canaries = _canary.rows()
    with tempfile.TemporaryDirectory() as folder:
        rows = _timed(lambda: _fleet_rows(Path(folder)))
        rows += _reporting_rows(Path(folder) / "reporting")
        rows += [*_rollback.rows(), *_ledger.rows(), _bundle_row()]
    return rows + canaries + _drift.rows()


def _timed(measure: Callable[[], list[Row]]) -> list[Row]:
    """Measure rows between two bare calls, and scale targets in time, and only those, by their mean."""
    before = bare_call_ns()
    rows = measure()
    bare = (before + bare_call_ns()) / 2
    return [scaled(row, bare) if row.unit == "ms" else row for row in rows]


def _fleet_rows(folder: Path) -> list[Row]:
    with control_plane(folder) as plane, RolloutClient(plane.address) as client:
        before = plane.memory()
        rollout = plane.ship(client)
        with fleet(plane, Shape(CLIENTS)) as clients:
            epoch = client.get(rollout).epoch
            until(lambda: acknowledged(client, epoch, CLIENTS), "all clients are connected")
            memory = (plane.memory() - before) / CLIENTS / 1024
            clients.collect()
            pushed = [_pushed(plane, clients, client, rollout) for _ in range(PUSHES)]
            withdrawn = [_withdrawn(clients, client, rollout) for _ in range(PUSHES)]
            storm = _storm(plane, clients, client, rollout)
    peer = _bare(folder)
    return [*_push_rows(pushed, peer), _memory_row(memory), *_rollback_rows(withdrawn), *storm]


def _pushed(
    plane: Plane, clients: Fleet, client: RolloutClient, rollout: str
) -> tuple[list[float], float]:
    """Have a candidate withdrawn and taken up again; return the latter's latencies and CPU."""
    _answered(clients, order(client, rollout, "abort"), 0)
    cpu, since = plane.cpu_s(), time.monotonic_ns()
    latencies = _answered(clients, order(client, rollout, "retry"), since)
    return latencies, (plane.cpu_s() - cpu) * 1e3 / CLIENTS


def _withdrawn(clients: Fleet, client: RolloutClient, rollout: str) -> list[float]:
    """Have one process's breaker trip; return how long after it each client ran stable."""
    clients.break_one()
    acks: list[Ack] = []
    epoch = client.get(rollout).epoch
    until(
        lambda: client.get(rollout).epoch > epoch or _moved(acks, clients, epoch), "it is aborted"
    )
    epoch = client.get(rollout).epoch
    until(lambda: _all(acks, clients, epoch), "the candidate is withdrawn everywhere")
    since = next(ack.at_ns for ack in acks if ack.what == "break")
    _answered(clients, order(client, rollout, "retry"), 0)
    return _fleet.latencies_ms(acks, since, epoch)


def _moved(acks: list[Ack], clients: Fleet, epoch: int) -> bool:
    acks += clients.collect()
    return any(ack.epoch >= epoch and ack.what == "ack" for ack in acks)


def _answered(clients: Fleet, epoch: int, since_ns: int) -> list[float]:
    """Wait until all clients have written their acknowledgement of an epoch; return when, in ms."""
    acks: list[Ack] = []
    until(lambda: _all(acks, clients, epoch), f"all clients acknowledge epoch {epoch}")
    return _fleet.latencies_ms(acks, since_ns, epoch)


def _all(acks: list[Ack], clients: Fleet, epoch: int) -> bool:
    acks += clients.collect()
    return len(_fleet.latencies_ms(acks, 0, epoch)) == clients.shape.clients


def _storm(plane: Plane, clients: Fleet, client: RolloutClient, rollout: str) -> list[Row]:
    """Kill the control plane under load, start it again, and see everybody back."""
    epoch = client.get(rollout).epoch
    clients.collect()
    plane.kill()
    plane.start()
    since = time.monotonic_ns()
    latencies = _answered(clients, epoch, since)
    until(lambda: acknowledged(client, epoch, CLIENTS), "all clients are back on the epoch")
    right = sum(found == epoch for found in clients.epochs().values())
    note = "from the new process's first listening; waits are full-jitter, up to 12 s"
    return [
        _row("reconnect storm: back and acknowledged, p50", [_at(latencies, 0.5)], "ms", None, note),
        _row("reconnect storm: back and acknowledged, last", [latencies[-1]], "ms", None, note),
        Row("reconnect storm: clients on the right epoch", right, "clients", "higher", CLIENTS,
            (right, right), note="after SIGKILL of the control plane"),
    ]  # fmt: skip


def _push_rows(pushed: list[tuple[list[float], float]], bare: list[list[float]]) -> list[Row]:
    halves, tails = ([_at(each, share) for each, _ in pushed] for share in (0.5, 0.99))
    peers = [
        Peer("bare grpc.aio", _version(), median(_at(each, share) for each in bare))
        for share in (0.5, 0.99)
    ]
    note = "all ACKed; order given over the API, stored and durable before it is pushed"
    return [
        _row(f"push to {CLIENTS} clients, p50", halves, "ms", 250.0, note, peers[0]),
        _row(f"push to {CLIENTS} clients, p99", tails, "ms", 1000.0, note, peers[1]),
        _row("server CPU of a push, per client", [cpu for _, cpu in pushed], "ms", 0.2,
             "push and acknowledgement; user and system"),
    ]  # fmt: skip


def _rollback_rows(withdrawn: list[list[float]]) -> list[Row]:
    note = "from the breaker's report to each client's ACK of the withdrawal; its next call is stable's"
    return [
        _row("fleet rollback, p50", [_at(each, 0.5) for each in withdrawn], "ms", None, note),
        _row("fleet rollback, last client", [each[-1] for each in withdrawn], "ms", 300.0, note),
    ]


def _memory_row(kib: float) -> Row:
    return _row("server memory per client", [kib], "KiB", 64.0, "resident, one hook, stream open")


def _reporting_rows(folder: Path) -> list[Row]:
    """Measure the server while clients report on ten hooks each second."""
    shape = Shape(REPORTING, hooks=10, report_s=1.0)
    with control_plane(folder) as plane, RolloutClient(plane.address) as client:
        rollout = plane.ship(client)
        with fleet(plane, shape):
            epoch = client.get(rollout).epoch
            until(lambda: acknowledged(client, epoch, REPORTING), "all clients are connected")
            time.sleep(2.0)
            cpu, since = plane.cpu_s(), time.monotonic()
            time.sleep(REPORTING_S)
            share = (plane.cpu_s() - cpu) / (time.monotonic() - since)
    note = f"{REPORTING} clients, a report on each of 10 hooks every second, 20 counters in each"
    each = share * 1e6 / (REPORTING * 10)
    return [_row("server CPU of a report", [each], "µs", None, note)]


def _bare(folder: Path) -> list[list[float]]:
    """Return the latencies of a server that only sends the same bytes and counts answers."""
    command = [sys.executable, str(Path(__file__).with_name("_broadcast.py")), str(CLIENTS)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    output, given = cast("IO[str]", process.stdout), cast("IO[str]", process.stdin)
    try:
        address = f"127.0.0.1:{int(output.readline())}"
        clients = Fleet(address, folder / "publisher.pub", Shape(CLIENTS, bare=True))
        try:
            output.readline()  # all are connected
            rounds = []
            for _ in range(PUSHES):
                since = time.monotonic_ns()
                given.write("push\n")
                given.flush()
                rounds.append(_answered(clients, 0, since))
            return rounds
        finally:
            clients.stop()
    finally:
        process.kill()
        process.wait(10)


def _bundle_row() -> Row:
    publisher = keys.generate()
    program = check("def score(ewma_ms):\n    return ewma_ms\n", load_balancer.input_names)
    payload = build_bundle(program, _fleet.HOOK, load_balancer, "0" * 64, {})
    envelope = dsse.sign(dsse.BUNDLE_TYPE, payload, publisher)
    times = []
    for _ in range(20):
        since = time.perf_counter()
        open_bundle(envelope, (publisher.public_key(),), _fleet.HOOK, load_balancer)
        times.append((time.perf_counter() - since) * 1e3)
    note = "signature, language check, 256 golden vectors; load balancer, one term"
    return _row("opening a bundle in a service", times, "ms", None, note)


def _row(
    name: str, values: list[float], unit: str, target: float | None, note: str,
    peer: Peer | None = None,
) -> Row:  # fmt: skip
    return Row(name, median(values), unit, "lower", target, _span(values), peer, note)


def _span(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _version() -> str:
    from importlib import metadata

    return metadata.version("grpcio")


if __name__ == "__main__":
    print(json.dumps([row.as_json() for row in run()], indent=1))
