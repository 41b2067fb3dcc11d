"""``gnomon audit`` against a control plane with a real process, over a cut ledger and its recovery."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from gnomon.commands import audit, rollout
from gnomon.policies.rollout import ledger as ledger_module
from gnomon.policies.rollout.chain import Entry, check_entries
from gnomon.policies.rollout.client import RolloutClient
from gnomon.policies.rollout.ledger import Ledger
from gnomon.policies.rollout.server import ControlPlane
from gnomon.policies.rollout.settings import ServerSettings
from gnomon.sdk import keys
from gnomon.sdk.channel import Peer
from gnomon.sdk.delivery import DeliveryClient, Settings
from gnomon.sdk.manifest import Anchors
from gnomon.sdk.measure import BlockMeasure
from gnomon.sdk.witness import FILE, read_anchors

HOOK = "router.pick"
INSTANCE = "0123456789abcdef"
PATIENCE_S = 20.0

app = typer.Typer()
audit.register(app)
rollout.register(app)


def run(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def wait_for(true: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def plane(settings: ServerSettings) -> Iterator[ControlPlane]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = ControlPlane(settings)
    asyncio.run_coroutine_threadsafe(made.start(), loop).result(10)
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(made.stop(0.1), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class Toy:
    """A hook that only remembers what was installed."""

    def __init__(self, kind: Any) -> None:
        self.name, self.kind = HOOK, kind
        self.counters: dict[str, int] = {"decisions": 5}
        self.broken: dict[str, int] = {"spread": 2}
        self.breaker = self.killed = ""
        self.has_outcomes = True
        self.measure: Any = None

    def new_measure(self) -> BlockMeasure:
        return BlockMeasure(self.kind)

    def install(self, assignment: Any) -> None:
        pass


@contextmanager
def process(port: int, publisher: Any, state: Path) -> Iterator[DeliveryClient]:
    anchors = Anchors((publisher.key.public_key(),))
    told = Settings(Peer(f"127.0.0.1:{port}"), "router", anchors, state_dir=state)
    hook: Any = Toy(publisher.kind)
    client = DeliveryClient(lambda: [hook], told, lambda: INSTANCE)
    client.start()
    try:
        yield client
    finally:
        client.stop()


@pytest.fixture
def settings(tmp_path: Path, publisher: Any) -> ServerSettings:
    return ServerSettings(
        "127.0.0.1:0", tmp_path / "control", publisher.rollout, (publisher.key.public_key(),)
    )


def ship(made: ControlPlane, publisher: Any) -> str:
    bundle = publisher.bundle()
    from gnomon.policies.rollout.shipping import Ramp

    plan = publisher.plan(bundle, time.time_ns(), Ramp())
    with RolloutClient(f"127.0.0.1:{made.port}") as client:
        return client.create(bundle, plan, "ci").candidate


def cut(path: Path, keep: int) -> None:
    """Remove the tail of a ledger and leave no trace of that in the file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("drop trigger entries_no_delete")
        connection.execute("delete from entries where seq > ?", (keep,))
        connection.executescript(ledger_module._SCHEMA)
        connection.commit()


def health(port: int, service: str) -> int:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(service=service)).status)


def test_a_cut_ledger_is_found_by_the_processes_and_accepted_once(
    settings: ServerSettings, publisher: Any, tmp_path: Path
) -> None:
    state, ledger = tmp_path / "service", settings.state / "ledger.db"
    with plane(settings) as made, process(made.port, publisher, state):
        candidate = ship(made, publisher)
        acked = made.control.ledger
        wait_for(lambda: acked.list(kind="delivery.acknowledged"))
        made.control.published(HOOK)  # as a renewal of the lease does
        wait_for(lambda: made.control.witnesses.said.get(INSTANCE))
        there = ("--control-plane", f"127.0.0.1:{made.port}")
        asked = run("audit", "who", HOOK, "--at", "0s", *there, "--json")
        found = json.loads(asked.stdout)
        assert (found["ran"][0]["instance"], found["ran"][0]["candidate"]) == (INSTANCE, candidate)
        verified = run("audit", "verify", *there)
        assert (verified.exit_code, "1 that processes remember" in verified.stdout) == (0, True)
        assert "DISPUTE" not in run("rollout", "status", *there).stderr
    assert read_anchors(state)
    from_state = ("--anchors-from", str(state), "--ledger", str(ledger))
    assert run("audit", "verify", *from_state).exit_code == 0
    with closing(Ledger(ledger)) as book:
        counted = book.list(kind="invariant.counted")
        assert counted[0].body["failed"] == {"broken.spread": 2}
    cut(ledger, 2)
    assert (
        run("audit", "verify", "--ledger", str(ledger)).exit_code == 0
    )  # the file alone cannot know
    lost = run("audit", "verify", *from_state)
    assert (lost.exit_code, "the ledger ends at 2" in lost.stdout) == (1, True)
    with plane(settings) as made, process(made.port, publisher, state):
        there = ("--control-plane", f"127.0.0.1:{made.port}")
        wait_for(lambda: made.control.witnesses.disputes)
        assert "LEDGER IN DISPUTE" in run("rollout", "status", *there).stderr
        verified = run("audit", "verify", *there)
        assert (verified.exit_code, f"{INSTANCE} remember" in verified.stdout) == (1, True)
        serving = health_pb2.HealthCheckResponse
        wait_for(lambda: health(made.port, "gnomon.v1.Audit") == serving.NOT_SERVING)
        assert health(made.port, "") == serving.SERVING
        assert run("audit", "accept", "--reason", "cut by hand", *there).exit_code == 0
        assert run("audit", "verify", *there).exit_code == 0
        wait_for(lambda: health(made.port, "gnomon.v1.Audit") == serving.SERVING)
        again = run("audit", "accept", "--reason", "cut by hand", *there)
        assert (again.exit_code, "nothing is in dispute" in again.stderr) == (2, True)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    with closing(Ledger(tmp_path / "ledger.db")) as book:
        for index in range(6):
            body = {"hook": HOOK, "reason": "a long reason, " * 20, "index": index}
            book.append("rollout.refused" if index % 2 else "verdict", "ann", "d" * 64, body)
    return tmp_path / "ledger.db"


def test_entries_go_to_parquet_and_back(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    done = run("audit", "export", "--ledger", str(ledger), "--out", str(out), "--json")
    assert json.loads(done.stdout) == {"entries": 6, "out": str(out), "format": "parquet"}
    table = pq.read_table(out)
    assert str(table.schema.field("time").type) == "timestamp[us, tz=UTC]"
    names = ("seq", "time_ns", "kind", "actor", "subject")
    back = [
        Entry(
            *(row[name] for name in names),
            json.loads(row["body"]),
            row["body"].encode(),
            row["previous"],
            row["hash"],
        )
        for row in table.to_pylist()
    ]
    assert check_entries(back).ok
    with closing(Ledger(ledger)) as book:
        assert back == book.list()
    assert set(table.column("hook").to_pylist()) == {HOOK}


def test_exports_are_filtered_and_refused_in_words(ledger: Path, tmp_path: Path) -> None:
    here = ("--ledger", str(ledger))
    lines = run("audit", "export", *here, "--kind", "verdict").stdout.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 3, 5]
    assert run("audit", "export", *here, "--since", "2h").stdout.count("\n") == 6
    assert run("audit", "export", *here, "--since", "2999-01-01").stdout == ""
    piped = run("audit", "export", *here, "--format", "parquet")
    assert (piped.exit_code, "Parquet needs --out FILE" in piped.stderr) == (2, True)
    other = run("audit", "export", *here, "--format", "csv")
    assert (other.exit_code, "write jsonl or parquet" in other.stderr) == (2, True)


def test_lists_fit_a_page(ledger: Path) -> None:
    listed = run("audit", "list", "--ledger", str(ledger)).stdout
    assert max(map(len, listed.splitlines())) <= 100
    assert listed.count("long") == 6 * 20
    assert "1  20" in listed


def test_a_checkpoint_is_made_once_and_checked(ledger: Path, tmp_path: Path) -> None:
    private, public = keys.save(keys.generate(), tmp_path, "auditor", "publisher")
    out, here = tmp_path / "head.checkpoint", ("--ledger", str(ledger))
    made = ("audit", "checkpoint", "--key", str(private), "--out", str(out), *here)
    assert run(*made).exit_code == 0
    assert "exists already" in run(*made).stderr
    trusted = ("audit", "verify", *here, "--checkpoint", str(out))
    checked = run(*trusted, "--trust", str(public))
    assert (checked.exit_code, "1 anchors kept outside" in checked.stdout) == (0, True)
    assert "name it with --trust" in run(*trusted).stderr
    cut(ledger, 4)
    lost = run(*trusted, "--trust", str(public))
    assert (lost.exit_code, "the ledger ends at 4" in lost.stdout) == (1, True)
    empty = run("audit", "verify", *here, "--anchors-from", str(tmp_path))
    assert (empty.exit_code, "holds no anchors" in empty.stderr) == (2, True)
    assert str(FILE) == "delivery/anchors"
