"""An OTLP receiver in a process of its own: parses every request, counts, and stores nothing.

It prints its port, and when its input ends, how many log records came, by event name.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast


class Receiver:
    """The receiver's process, as seen by who started it.

    Attributes:
        endpoint: URL to export to.
        received: log records by event name, once the process has ended.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.endpoint = f"http://127.0.0.1:{int(self._output.readline())}"
        self.received: Counter[str] = Counter()

    @property
    def _output(self) -> IO[str]:
        return cast("IO[str]", self._process.stdout)

    def stop(self) -> None:
        """End the process and read what it counted."""
        output, _ = self._process.communicate(timeout=30)
        self.received.update(json.loads(output))


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Run a receiver until the block ends."""
    command = [sys.executable, str(Path(__file__).resolve())]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            started = Receiver(process)
            yield started
            started.stop()
        finally:
            process.kill()


def main() -> None:
    """Receive until the input ends."""
    import grpc
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc

    received: Counter[str] = Counter()

    class Service(logs_service_pb2_grpc.LogsServiceServicer):
        """Counts."""

        def Export(self, request: Any, context: Any) -> Any:
            """Take one request."""
            for resource in request.resource_logs:
                for scope in resource.scope_logs:
                    received.update(record.event_name for record in scope.log_records)
            return logs_service_pb2.ExportLogsServiceResponse()

    server = grpc.server(
        ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", 64 << 20)]
    )
    generated: Any = logs_service_pb2_grpc  # comes without types
    generated.add_LogsServiceServicer_to_server(Service(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(1.0).wait()
    print(json.dumps(received), flush=True)


if __name__ == "__main__":
    main()
