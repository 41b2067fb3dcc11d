"""The FastAPI router under uvicorn and under gunicorn's prefork, recorded by ``gnomon record``."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from .services import (
    Service,
    Upstream,
    asleep,
    by_process,
    recorder,
    service,
    stored,
    upstream,
    wait_for,
)

UVICORN = ["uvicorn", "--fd", "FD", "fastapi_router:app"]
GUNICORN = [
    *("gunicorn", "--bind", "fd://FD", "--workers", "2", "--no-control-socket"),
    *("--worker-class", "uvicorn_worker.UvicornWorker", "fastapi_router:app"),
]


@contextmanager
def held(router: Service, at: Upstream) -> Iterator[Future[tuple[int, bytes]]]:
    """Have a request under way at an upstream; it is answered on leaving."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(router.ask, "/hold")
        wait_for("the upstream was asked", at.held.is_set)
        yield asked
        at.release.set()


def test_under_uvicorn_every_request_is_a_decision_with_its_outcome(tmp_path: Path) -> None:
    with socket.socket() as nobody, upstream() as one, upstream() as two, recorder(tmp_path) as env:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        env["UPSTREAMS"] = f"{one.url},{two.url},http://127.0.0.1:{nobody.getsockname()[1]}"
        with service(UVICORN, tmp_path, **env) as router:
            first = router.ask("/a%20b?x=1&y=2", b"body")
            with held(router, one):  # so that the next one goes elsewhere
                second = router.ask("/c")
                with held(router, two):
                    third = router.ask("/d")
            broken = router.ask("/broken")
            router.stop()
    assert first == (200, b"POST /a%20b?x=1&y=2 body")
    assert second == (200, b"GET /c ")
    assert (third[0], broken[0]) == (502, 500)
    decisions = stored(tmp_path)
    assert sorted(row["action"] for row in decisions) == [0, 0, 0, 1, 1, 2]
    assert one.answered == {"/a%20b": 1, "/hold": 1, "/broken": 1}
    assert two.answered == {"/c": 1, "/hold": 1}
    seen = sorted((row["action"], row["outcome_status"], row["ok"]) for row in decisions)
    assert seen == [
        *((0, "reported", False), (0, "reported", True), (0, "reported", True)),
        *((1, "reported", True), (1, "reported", True), (2, "error", False)),
    ]
    assert len(by_process(decisions)) == 1


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_under_gunicorn_every_worker_records_and_may_be_replaced(
    tmp_path: Path, preload: bool
) -> None:
    arguments = [*GUNICORN, *(["--preload"] if preload else [])]
    with (
        upstream() as only,
        recorder(tmp_path) as env,
        service(arguments, tmp_path, **env, UPSTREAMS=only.url) as router,
    ):
        wait_for("two workers", lambda: len(router.workers()) == 2)
        old, kept = router.workers()
        with asleep(old):
            answers = [router.ask("/kept") for _ in range(3)]
        with asleep(kept):
            answers += [router.ask("/old") for _ in range(5)]
            with held(router, only) as last:
                os.kill(old, signal.SIGTERM)
            wait_for("the old worker ended", lambda: old not in router.workers())
            answers += [router.ask("/new") for _ in range(7)]
            answers.append(last.result())
        router.stop()
    assert {status for status, _ in answers} == {200}
    assert only.answered == {"/kept": 3, "/old": 5, "/hold": 1, "/new": 7}
    decisions = stored(tmp_path)
    assert by_process(decisions) == [3, 6, 7]
    assert {row["outcome_status"] for row in decisions} == {"reported"}
