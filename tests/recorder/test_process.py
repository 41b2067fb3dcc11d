"""``gnomon record`` and ``gnomon traces`` as a user runs them, and a recorder that is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pyarrow.parquet as pq
import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from typer.testing import CliRunner

from gnomon.recorder.compaction import When, compact
from gnomon.recorder.store import TraceStore
from gnomon.sdk.telemetry import OtlpSink
from gnomon.sdk.telemetry.delivery import METHOD
from gnomon.sdk.telemetry.encode import Encoder, request, resource
from gnomon.sdk.telemetry.settings import Settings

from .fakes import FakeHook, accesses, decision, outcome

_PROGRAM = """
import typer
from gnomon.commands import record, traces
app = typer.Typer()
record.register(app)
traces.register(app)
app()
"""


def gnomon(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def recording(
    store: Path, *more: str, ready: Path | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``gnomon record`` on a free port; yield the process and the bound address."""
    ready = ready or store.parent / "ready"
    ready.unlink(missing_ok=True)
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _PROGRAM, "record", "--store", str(store)),
            *("--listen", "127.0.0.1:0", "--ready-file", str(ready), *more),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not ready.exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process, ready.read_text().strip()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def send_until_dead(address: str, first: int) -> set[int]:
    """Send a decision, its outcome and a hundred accesses, again and again; return what was acknowledged."""
    acknowledged = set()
    encoder = Encoder(FakeHook())
    with grpc.insecure_channel(address) as channel:
        export = channel.unary_unary(METHOD)
        for i in range(first, first + 100_000):
            made = decision(i)
            records = map(encoder.encode, (made, outcome(made), accesses(100 * i, 100)))
            try:
                export(request(resource({}), records, os.urandom(16)), timeout=5)
            except grpc.RpcError:
                break
            acknowledged.add(i)
    return acknowledged


@pytest.mark.parametrize("compact_after", ["2h", "0s"])
@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_a_killed_recorder_loses_nothing_it_acknowledged(
    tmp_path: Path, rounds: int, compact_after: str
) -> None:
    """With ``0s`` it merges what it finds when it starts, and is killed within that too."""
    acknowledged: set[int] = set()
    for number in range(rounds):
        with recording(tmp_path / "store", "--compact-after", compact_after) as (process, address):
            # at various moments of a segment's life: it is sealed after two seconds
            kill = threading.Timer(0.3 + 0.9 * (number % 4) - 0.02 * (number % 13), process.kill)
            kill.start()
            acknowledged |= send_until_dead(address, number * 100_000)
            kill.join()
    with recording(tmp_path / "store") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    reading = TraceStore(tmp_path / "store").read("decisions")
    stored = {int.from_bytes(i[8:], "big") for i in reading.table["decision_id"].to_pylist()}
    assert len(acknowledged) > 10 * rounds
    assert acknowledged <= stored
    assert len(stored - acknowledged) <= rounds  # at most the request under way at each kill
    assert (reading.duplicates, reading.damaged) == (0, ())
    events = TraceStore(tmp_path / "store").read("workload")
    assert (events.table.num_rows, events.duplicates) == (100 * len(stored), 0)
    assert reading.table["outcome_status"].null_count == 0
    # What a reader that knows nothing of lineages would count twice is gone after the next merge.
    compact(TraceStore(tmp_path / "store"), When(time.time_ns(), 0.0))
    rows = sum(
        pq.read_metadata(path).num_rows
        for path in (tmp_path / "store/decisions").rglob("*.parquet")
    )
    assert rows == reading.table.num_rows


def test_record_then_traces(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with recording(store, "--json") as (process, address):
        sink = OtlpSink(address, {"service.name": "router"})
        made = [decision(i) for i in range(20)]
        sink.write(FakeHook(), [*made, *map(outcome, made)])
        sink.close(20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(out)["decisions"] == 20
    assert f"listening on {address}" in err and "20 decisions stored" in err
    shown = gnomon("traces", str(store), "--json")
    assert shown.returncode == 0
    (summary,) = json.loads(shown.stdout)["hooks"]
    assert (summary["hook"], summary["decisions"], summary["matched"]) == ("router.pick", 20, 20)
    table = gnomon("traces", str(store))
    assert table.returncode == 0
    assert "router.pick" in table.stdout and "latency_ms" in table.stdout


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        busy = gnomon("record", "--store", str(tmp_path / "s"), "--listen", address)
    assert busy.returncode == 2
    (line,) = busy.stderr.splitlines()
    assert line.startswith(f"gnomon: cannot listen on {address}: the port is in use")
    for arguments, words in (
        (("traces", str(tmp_path / "none")), "no trace store at"),
        (("record", "--store", str(tmp_path / "s"), "--listen", "nonsense"), "write HOST:PORT"),
        (("record", "--store", str(tmp_path / "s"), "--tls-cert", "x.pem"), "both --tls-cert and"),
        (("record", "--store", "nix://x/y"), "cannot open nix://x/y"),
    ):
        done = gnomon(*arguments)
        assert done.returncode == 2
        assert words in done.stderr and len(done.stderr.splitlines()) == 1


def test_help_names_every_option() -> None:
    import typer

    from gnomon.commands import record, traces

    app = typer.Typer()
    record.register(app)
    traces.register(app)
    shown = CliRunner().invoke(app, ["record", "--help"], env={"COLUMNS": "200"})
    for option in ("--store", "--listen", "--tls-cert", "--tls-key", "--spool", "--ready-file"):
        assert option in shown.output


def test_opentelemetrys_own_exporter_is_answered(tmp_path: Path) -> None:
    """Records of other instrumentations are accepted and counted, not stored."""
    with recording(tmp_path / "store", "--json") as (process, address):
        provider = LoggerProvider(shutdown_on_exit=False)
        exporter = OTLPLogExporter(endpoint=address, insecure=True)
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        logger = provider.get_logger("somebody.else")
        for i in range(3):
            logger.emit(timestamp=i + 1, severity_number=SeverityNumber.INFO, body=f"line {i}")
        provider.shutdown()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    totals = json.loads(out)
    assert (totals["foreign"], totals["records"]) == (3, 0)


def test_tls(tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "cert.pem").write_bytes(pem)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    files = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    with recording(tmp_path / "store", *files) as (_, address):
        target = f"localhost:{address.rpartition(':')[2]}"
        trusted = OtlpSink(settings=Settings(target, secure=True, certificate=pem))
        trusted.write(FakeHook(), [decision(0)])
        trusted.close(20)
        assert trusted.account().acknowledged == 1
        plain = OtlpSink(settings=Settings(target, timeout_s=0.5))
        plain.write(FakeHook(), [decision(1)])
        plain.close(20)
        assert plain.account().acknowledged == 0
