"""A server of OpenAI's wire format on loopback that does what it is told, failures included."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Say:
    """An answer with some text; ``usage`` is what the server claims, None for no word of it."""

    text: str | None
    usage: Any = (100, 50)
    finish: str = "stop"
    choices: bool = True


@dataclass(frozen=True)
class Status:
    """An error, or anything else with a status of its own."""

    code: int
    headers: dict[str, str] = field(default_factory=dict)
    text: str = "{}"


@dataclass(frozen=True)
class Raw:
    """A body as it is; ``missing`` bytes of it are announced and never sent."""

    body: bytes
    missing: int = 0


@dataclass(frozen=True)
class Hang:
    """Nothing, until the server closes; after ``drip`` has been sent again and again when it is not empty."""

    drip: bytes = b""


@dataclass(frozen=True)
class Cut:
    """A connection that ends without a word."""


Step = Say | Status | Raw | Hang | Cut
Script = Callable[[dict[str, Any], int], Step]


@dataclass(frozen=True)
class Seen:
    """One request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Server:
    """Answers by a script and remembers what it was asked; ``asked`` is set with the first request."""

    def __init__(self, script: Script) -> None:
        self.seen: list[Seen] = []
        self.asked = threading.Event()
        self.closing = threading.Event()
        self._script = script
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def base(self) -> str:
        """Address up to and including ``/v1``."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def close(self) -> None:
        """End it, with all that hangs."""
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def step(self, seen: Seen) -> Step:
        """Return what to do about a request."""
        with self._lock:
            self.seen.append(seen)
            self.asked.set()
            return self._script(seen.body, len(self.seen) - 1)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.path, headers, json.loads(self.rfile.read(size)))
                try:
                    _act(self, server, server.step(seen), self.path.endswith("/chat/completions"))
                except OSError:
                    pass  # whoever asked has gone

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def _act(to: BaseHTTPRequestHandler, server: Server, step: Step, chat: bool) -> None:
    match step:
        case Cut():
            to.close_connection = True
        case Status():
            _send(to, step.code, step.text.encode(), step.headers)
        case Raw():
            _send(to, 200, step.body, {}, step.missing)
        case Hang():
            if step.drip:
                _head(to, 200, 10**9, {})
            while not server.closing.wait(0.02):
                if step.drip:
                    to.wfile.write(step.drip)
            to.close_connection = True
        case Say():
            _send(to, 200, json.dumps(_body(step, chat)).encode(), {})


def _body(step: Say, chat: bool) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": step.finish}
    choice |= (
        {"message": {"role": "assistant", "content": step.text}} if chat else {"text": step.text}
    )
    body: dict[str, Any] = {
        "id": "x",
        "object": "chat.completion" if chat else "text_completion",
        "created": 1,
        "model": "scripted",
        "choices": [choice] if step.choices else [],
    }
    if isinstance(step.usage, tuple):
        into, out = step.usage
        body["usage"] = {"prompt_tokens": into, "completion_tokens": out, "total_tokens": 0}
    elif step.usage is not None:
        body["usage"] = step.usage
    return body


def _head(to: BaseHTTPRequestHandler, code: int, size: int, headers: dict[str, str]) -> None:
    to.send_response(code)
    for name, value in ({"Content-Type": "application/json"} | headers).items():
        to.send_header(name, value)
    to.send_header("Content-Length", str(size))
    to.end_headers()


def _send(
    to: BaseHTTPRequestHandler, code: int, body: bytes, headers: dict[str, str], missing: int = 0
) -> None:
    _head(to, code, len(body) + missing, headers)
    to.wfile.write(body)
    to.close_connection = True


@contextmanager
def serving(script: Script | Iterable[Step]) -> Iterator[Server]:
    """Serve a script: a function of (body, number), or steps of which the last repeats."""
    server = Server(script if callable(script) else _in_turn(list(script)))
    try:
        yield server
    finally:
        server.close()


def _in_turn(steps: list[Step]) -> Script:
    return lambda _, number: steps[min(number, len(steps) - 1)]
