"""Receivers in processes of their own, asked for their CPU time, their memory and what they took.

``keep`` writes every request into a folder; ``parse`` parses it with protobuf and does no more;
``spool`` is the recorder, with the store held back; ``store`` is the recorder as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

_LONG = 1e9


@dataclass(frozen=True, slots=True)
class State:
    """What a receiver has done.

    Attributes:
        records: acknowledged; of ``store``, -1 until all of them are in the store.
        cpu_s: CPU time of the process.
        peak_mib: largest resident memory of the process.
        problems: what the recorder complained of.
    """

    records: int
    cpu_s: float
    peak_mib: float
    problems: list[str]


class Receiver:
    """A receiver's process.

    Attributes:
        address: host:port.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.address = process.stdout.readline().strip()

    def state(self) -> State:
        """Return what it has done so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return State(**json.loads(self._process.stdout.readline()))

    def after(self, records: int, timeout_s: float = 60.0) -> State:
        """Return the state once it has so many records."""
        deadline = time.monotonic() + timeout_s
        while (state := self.state()).records < records and time.monotonic() < deadline:
            time.sleep(0.02)
        return state


@contextlib.contextmanager
def receiver(mode: str, folder: Path | None = None) -> Iterator[Receiver]:
    """Run a receiver for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, str(Path(__file__)), mode, str(folder or made)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            yield Receiver(process)
        finally:
            process.communicate(timeout=30)


class _Minimal(grpc.GenericRpcHandler):
    """Takes requests, and parses or keeps them."""

    def __init__(self, folder: Path | None) -> None:
        self.records = 0
        self._folder = folder
        self._lock = threading.Lock()

    def service(self, details: Any) -> Any:
        """Return the handler of every method."""
        return grpc.unary_unary_rpc_method_handler(self._export)

    def _export(self, payload: bytes, _: Any) -> bytes:
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

        if self._folder is not None:
            (self._folder / f"{time.time_ns()}.otlp").write_bytes(payload)
        message = ExportLogsServiceRequest.FromString(payload)
        scopes = (scope for each in message.resource_logs for scope in each.scope_logs)
        found = sum(len(scope.log_records) for scope in scopes)
        with self._lock:
            self.records += found
        return b""


def _minimal(folder: Path | None) -> None:
    handler = _Minimal(folder)
    options = [("grpc.max_receive_message_length", 16 << 20)]
    server = grpc.server(ThreadPoolExecutor(4), options=options)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    for _ in sys.stdin:
        _say(handler.records, [])
    server.stop(1.0).wait()


async def _recorder(folder: Path, held_back: bool) -> None:
    from gnomon.recorder.intake import Intake, Limits
    from gnomon.recorder.receiver import Listening
    from gnomon.recorder.receiver import Receiver as Server
    from gnomon.recorder.spool import Spool
    from gnomon.recorder.store import TraceStore

    limits = Limits(roll_s=_LONG, roll_bytes=1 << 40, spool_bytes=1 << 40)
    intake = Intake(
        TraceStore(folder / "store"), Spool(folder / "spool"), limits if held_back else Limits()
    )
    await intake.start()
    server = Server(intake, Listening("127.0.0.1:0"))
    await server.start()
    print(server.address, flush=True)
    counts = intake.counts
    while await asyncio.to_thread(sys.stdin.readline):
        waiting = counts.spooled_bytes and not held_back
        _say(-1 if waiting else counts.records, list(counts.problems))
    await server.stop(1.0)
    if not held_back:
        await intake.close()


def _say(records: int, problems: list[str]) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    state = {"records": records, "cpu_s": time.process_time(), "peak_mib": peak}
    print(json.dumps({**state, "problems": problems}), flush=True)


def main() -> None:
    """Run the receiver that was asked for until standard input ends."""
    mode, folder = sys.argv[1], Path(sys.argv[2])
    if mode in ("parse", "keep"):
        _minimal(folder if mode == "keep" else None)
    else:
        asyncio.run(_recorder(folder, mode == "spool"))


if __name__ == "__main__":
    main()
