"""The examples as processes: a recorder, upstreams that count, and servers on sockets of ours."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from gnomon.recorder.store import TraceStore

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PATIENCE_S = 60.0


def wait_for(what: str, met: Callable[[], bool]) -> None:
    """Wait until a condition holds; ``what`` is said when it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


@dataclass
class Upstream:
    """An HTTP server that counts what it answers, by path.

    ``/hold`` is answered only after ``release`` was set, ``/broken`` with a 500, else the answer is
    the request's method, target and body.
    """

    answered: Counter[str] = field(default_factory=Counter)
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        path = handler.path.partition("?")[0]
        if path == "/hold":
            self.held.set()
            self.release.wait(PATIENCE_S)
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        self.answered[path] += 1
        said = f"{handler.command} {handler.path} ".encode() + body
        handler.send_response(500 if path == "/broken" else 200)
        handler.send_header("content-length", str(len(said)))
        handler.send_header("content-type", "text/x-upstream")
        handler.end_headers()
        handler.wfile.write(said)


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Run an upstream on a free port."""
    counting = Upstream()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        #: Head and body go in one packet, so that no delayed acknowledgement is waited for.
        wbufsize = -1

        def do_GET(self) -> None:
            counting.answer(self)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        counting.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield counting
        finally:
            counting.release.set()
            server.shutdown()
            thread.join()


@contextmanager
def recorder(folder: Path) -> Iterator[dict[str, str]]:
    """Run ``gnomon record`` into ``folder / "store"``; yield the variables that lead there.

    At the end it is asked to stop, and must end well.
    """
    ready = folder / "ready"
    command = [
        *(sys.executable, "-m", "gnomon", "record", "--store", str(folder / "store")),
        *("--listen", "127.0.0.1:0", "--ready-file", str(ready)),
    ]
    with process(command, folder) as recording:
        wait_for("the recorder listens", ready.exists)
        endpoint = f"http://{ready.read_text().strip()}"
        yield {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SERVICE_NAME": "example"}
        assert stop(recording) == 0


@contextmanager
def process(
    command: list[str],
    folder: Path,
    env: dict[str, str] | None = None,
    pass_fds: tuple[int, ...] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command, its output in ``folder / "log"``; kill it at the end if it still runs."""
    with (folder / "log").open("ab") as log:
        running = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env=env, pass_fds=pass_fds
        )
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()
            running.wait()


def stop(running: subprocess.Popen[bytes]) -> int:
    """Ask a process to stop, as an init system does; return its exit status."""
    running.send_signal(signal.SIGTERM)
    return running.wait(PATIENCE_S)


@dataclass
class Service:
    """A running service.

    Attributes:
        process: of the server, or of gunicorn's arbiter.
        port: it answers on.
    """

    process: subprocess.Popen[bytes]
    port: int

    def stop(self) -> None:
        """Ask it to stop; it must end well.

        Uvicorn raises the signal again once it has shut down, so that whoever waits sees it.
        """
        assert stop(self.process) in (0, -signal.SIGTERM)

    @contextmanager
    def asked(self, path: str, body: bytes | None = None) -> Iterator[http.client.HTTPConnection]:
        """Send a request over a connection of its own, and leave its answer to be read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        headers = {"connection": "close", "content-type": "text/x-test"}
        try:
            connection.request("GET" if body is None else "POST", path, body, headers)
            yield connection
        finally:
            connection.close()

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        with self.asked(path, body) as connection:
            answer = connection.getresponse()
            return answer.status, answer.read()

    def workers(self) -> set[int]:
        """Return the ids of its child processes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in children.read_text().split()}


@contextmanager
def service(arguments: list[str], folder: Path, **variables: str) -> Iterator[Service]:
    """Run ``python -m ARGUMENTS``, ``FD`` in them replaced by that of a listening socket.

    Nobody has to wait for it: what is asked before it accepts waits in the socket's backlog.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GNOMON_", "OTEL_"))}
    env = kept | {"PYTHONPATH": str(EXAMPLES), "HOME": str(folder)} | variables
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        fd = listening.fileno()
        command = [sys.executable, "-m", *(part.replace("FD", str(fd)) for part in arguments)]
        with process(command, folder, env=env, pass_fds=(fd,)) as running:
            yield Service(running, listening.getsockname()[1])


@contextmanager
def asleep(process_id: int) -> Iterator[None]:
    """Keep a process from doing anything."""
    os.kill(process_id, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process_id, signal.SIGCONT)


def stored(folder: Path) -> list[dict[str, Any]]:
    """Return the decisions that the recorder stored, none of which may be there twice."""
    reading = TraceStore(str(folder / "store")).read("decisions")
    assert (reading.duplicates, reading.damaged) == (0, ())
    found: list[dict[str, Any]] = reading.table.to_pylist()
    return found


def shown(command: str, folder: Path, *words: str) -> Any:
    """Return what a command of ``gnomon`` prints of the store, which must be well."""
    line = [sys.executable, "-m", "gnomon", command, str(folder / "store"), *words, "--json"]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def by_process(decisions: list[dict[str, Any]]) -> list[int]:
    """Return how many decisions each process recorded, in ascending order."""
    return sorted(Counter(row["decision_id"][:8] for row in decisions).values())


def imported(name: str) -> ModuleType:
    """Return an example as a module that nobody else has."""
    found = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert found is not None and found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module
