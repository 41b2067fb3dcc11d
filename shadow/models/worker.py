"""The process that asks models, and the only one that holds their keys: ``python -m gnomon.shadow.models.worker``.

One JSON line on standard input is one call, one on standard output is its result. It ends with its input.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import threading
import time
from typing import Any, BinaryIO
from urllib.parse import quote

from ...sdk.isolation.lockdown import forbid_dumps, libc
from .calls import Caller, Result
from .chat import Answer, ChatModel, Failure, Request
from .compatible import Compatible

#: Names of the variables that hold keys, separated by commas.
KEYS = "GNOMON_MODEL_KEYS"
#: Bytes of address space; an answer without end ends this process, not the machine.
_MOST_MEMORY = 8 * 2**30
#: What is shorter is no key, and taking it out would tear words apart.
_SHORTEST_KEY = 8


class Redacted:
    """Takes keys out of whatever leaves this process.

    Args:
        keys: values.
    """

    def __init__(self, keys: list[str]) -> None:
        long = {key.strip() for key in keys if len(key.strip()) >= _SHORTEST_KEY}
        told = {form for key in long for form in _forms(key)}
        self._keys = sorted(told, key=lambda key: (-len(key), key))

    def __call__(self, text: str) -> str:
        """Return a text without keys."""
        for key in self._keys:
            text = text.replace(key, "[key]")
        for key in self._keys:  # what was cut may end within one
            for size in range(len(key) - 1, _SHORTEST_KEY - 1, -1):
                if text.endswith(key[:size]):
                    return f"{text[:-size]}[key]"
        return text


def _forms(key: str) -> tuple[str, ...]:
    """Return a key as it may stand in an address, and in JSON."""
    return key, quote(key, safe=""), json.dumps(key)[1:-1], key.replace("/", "\\/")


class _Models(ChatModel):
    """Sends each request to its adapter; litellm is imported when the first one needs it."""

    def __init__(self) -> None:
        self._compatible = Compatible()
        self._lite: ChatModel | None = None
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Import litellm; raises Failure when that cannot be."""
        with self._lock:
            if self._lite is None:
                try:
                    from .lite import Lite

                    self._lite = Lite()
                except Exception as error:  # noqa: BLE001 - a broken install of another's library
                    text = f"litellm cannot be imported: {type(error).__name__}: {error}"
                    raise Failure(text, again=False) from None

    def answer(self, request: Request, seconds: float) -> Answer:
        if request.adapter != "litellm":
            return self._compatible.answer(request, seconds)
        self.prepare()
        assert self._lite is not None
        return self._lite.answer(request, seconds)


class _Worker:
    """Runs calls, each on a thread of its own."""

    def __init__(self, out: BinaryIO, redacted: Redacted) -> None:
        self._out = out
        self._redacted = redacted
        self._models = _Models()
        self._caller = Caller(self._models, time.monotonic, time.sleep)
        self._lock = threading.Lock()
        self._ready = threading.Event()

    def prepare(self, with_litellm: bool) -> None:
        """Say that calls can begin, or why not; they wait for it, and their time begins then."""
        try:
            if with_litellm:
                self._models.prepare()
        except Failure as failure:
            self._send({"broken": self._redacted(str(failure))})
            return
        self._send({"ready": True})
        self._ready.set()

    def begin(self, line: bytes) -> None:
        """Begin with one call."""
        job = json.loads(line)
        threading.Thread(target=self._run, args=(job,), daemon=True).start()

    def _run(self, job: dict[str, Any]) -> None:
        self._ready.wait()
        try:
            request = Request.of_json(job["request"])
            rng = random.Random(f"{request.seed}/{job['id']}")
            result = self._caller.call(request, job["seconds"], rng)
        except Exception as error:  # noqa: BLE001 - the boundary of a process: a call never ends without a result
            result = Result(None, f"{type(error).__name__}: {error}", 1, 1)
        self._send({"id": job["id"], **self._told(result)})

    def _told(self, result: Result) -> dict[str, Any]:
        answer = result.answer
        told: dict[str, Any] = {
            "error": self._redacted(result.error),
            "attempts": result.attempts,
            "doubtful": result.doubtful,
        }
        if answer is not None:
            told["answer"] = {
                "text": self._redacted(answer.text),  # an endpoint may repeat what it was sent
                "tokens_in": answer.tokens_in,
                "tokens_out": answer.tokens_out,
                "finish": self._redacted(answer.finish),
            }
        return told

    def _send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._lock:
            self._out.write(line)
            self._out.flush()


def main() -> int:
    """Run until standard input ends."""
    names = [name for name in os.environ.get(KEYS, "").split(",") if name]
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no message of ours
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _MOST_MEMORY if hard == resource.RLIM_INFINITY else min(hard, _MOST_MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold the keys
    forbid_dumps(
        libc()
    )  # nor do other processes of the same user read its memory and its environment
    worker = _Worker(out, Redacted([os.environ.get(name, "") for name in names]))
    # beside the reading, so that whoever writes here never waits
    with_litellm = "--litellm" in sys.argv[1:]
    threading.Thread(target=worker.prepare, args=(with_litellm,), daemon=True).start()
    try:
        for line in sys.stdin.buffer:
            worker.begin(line)
    except (ValueError, OSError):
        return 2
    return 0


if __name__ == "__main__":
    code = main()
    # threads under way belong to calls that nobody waits for any more
    os._exit(code)
