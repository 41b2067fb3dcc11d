"""The kill switch: once it is pulled no policy decides, whatever comes, until it is lifted."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gnomon
from gnomon.sdk.assignment import Assignment
from gnomon.sdk.config import Settings, from_environment
from gnomon.sdk.kill import FILE, Kill, KillFile
from gnomon.sdk.runtime import RUNTIME
from gnomon.testing import FakeClock, recording

from .common import READ, SWITCHBACK, Item, accounted, items, run


@pytest.fixture(autouse=True)
def lifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be where no kill file lies, and leave nothing killed behind."""
    monkeypatch.chdir(tmp_path)
    yield
    gnomon.unkill()
    RUNTIME.kills.take("file", ())
    RUNTIME.kills.take("environment", ())
    RUNTIME.apply_kills()


def marked(name: str = "kill.pick", **more: Any) -> Any:
    @gnomon.hook(name, **READ, **more)
    def pick(request: Any, backends: list[Item]) -> Item:
        return backends[0]

    return pick


def second(rows: Any) -> int:
    return 1


def test_the_function_decides_from_the_next_call_on_and_again_after_it_was_lifted() -> None:
    pick, backends = marked(), items()
    with recording() as seen:
        run(pick, second)
        assert pick(None, backends) is backends[1]
        (kill,) = gnomon.kill(pick, reason="pages\nare slow", by="ann")
        assert (kill.hook, kill.reason, kill.by, kill.source) == (
            "kill.pick", "pages are slow", "ann", "call",
        )  # fmt: skip
        assert pick.hook.killed == "killed (call) by ann: pages are slow"
        assert pick(None, backends) is backends[0]
        assert gnomon.unkill(pick) == ()
        assert pick(None, backends) is backends[1]
        made = [(d.arm, d.reason, d.detail, d.policy[:1], d.action) for d in seen.decisions]
        counters = pick.hook.counters
    assert made == [
        ("candidate", "static", "", "c", 1),
        ("incumbent", "fallback", "killed", "i", 0),
        ("candidate", "static", "", "c", 1),
    ]
    assert (counters["killed"], counters["fallbacks"], pick.hook.killed) == (1, 0, "")


def test_it_holds_against_manifests_configure_and_exploring() -> None:
    pick, backends = marked(explore=1.0), items(5)
    gnomon.kill(reason="all of it")
    with recording() as seen:
        for epoch, phase in enumerate(("full", "canary", "shadow"), 1):
            more = {"switchback": SWITCHBACK, "shadow_rate": 1.0}
            run(pick, second, phase=phase, epoch=epoch, stable=lambda rows: 2, **more)
            for _ in range(20):
                assert pick(None, backends) is backends[0]
        assert {(d.detail, d.propensity, d.block) for d in seen.decisions} == {("killed", 1.0, -1)}
        assert pick.hook.counters["shadow_decisions"] == 0
        assert accounted(pick)
    with recording():
        run(pick, second, epoch=9)
        assert pick(None, backends) is backends[0]


def test_one_hook_or_all() -> None:
    one, other, backends = marked("kill.one"), marked("kill.other"), items()
    with recording():
        run(one, second)
        run(other, second)
        gnomon.kill("kill.one", reason="x")
        assert (one(None, backends), other(None, backends)) == (backends[0], backends[1])
        gnomon.kill(reason="y")
        late = marked("kill.late")
        run(late, second)
        assert late(None, backends) is other(None, backends) is backends[0]
        assert [kill.hook for kill in gnomon.unkill("kill.one")] == [""]
        assert one(None, backends) is backends[0]
        gnomon.unkill()
        assert late(None, backends) is one(None, backends) is backends[1]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (lambda: gnomon.kill("kill.none", reason="x"), "no hook 'kill.none' in this process"),
        (lambda: gnomon.kill(items, reason="x"), "is no hook"),
        (lambda: gnomon.kill(7, reason="x"), "7 is no hook"),
        (lambda: gnomon.unkill(7), "7 is no hook"),
        (lambda: gnomon.kill(reason="  "), "needs a reason"),
        (lambda: gnomon.kill(reason="x", state_dir="nowhere"), "there is no state folder"),
        (lambda: gnomon.unkill("a", state_dir="."), "kills nothing, not 'a'"),
        (lambda: gnomon.kill("a b", reason="x", state_dir="."), "hook name 'a b'"),
    ],
)
def test_orders_that_cannot_be_carried_out_are_refused(order: Callable[[], Any], said: str) -> None:
    with pytest.raises(gnomon.ConfigurationError, match=said):
        order()
    assert gnomon.kills() == ()


def test_a_policy_that_was_taken_back_stays_so_after_a_kill() -> None:
    pick, backends = marked(), items()
    with recording():
        run(pick, lambda rows: -1)
        for _ in range(4):
            pick(None, backends)
        tripped = pick.hook.breaker
        gnomon.kill(pick, reason="x")
        pick(None, backends)
        gnomon.unkill(pick)
        assert pick(None, backends) is backends[0]
        assert pick.hook.breaker == tripped != ""


def test_live_shadow_asks_nobody_about_what_still_waits() -> None:
    pick, asked, clock = marked(), [], FakeClock()
    with recording(clock=clock) as seen:
        run(pick, lambda rows: asked.append(1) or 1, phase="shadow", shadow_rate=1.0)
        pick(None, items())
        gnomon.kill(pick, reason="x")
        assert len(seen.decisions) == 1
        assert asked == []
        gnomon.unkill(pick)
        pick(None, items())
        assert len(seen.decisions) == 2
        assert asked == [1]


def test_no_thread_gets_a_policy_s_answer_in_a_call_that_began_after_it() -> None:
    pick, backends = marked(), items()
    stop = threading.Event()
    state = [0]  # odd from when a kill has returned until just before it is lifted
    late: list[Item] = []
    judged = [0] * 4

    def serve(thread: int) -> None:
        while not stop.is_set():
            before = state[0]
            picked = pick(None, backends)
            if before % 2 and before == state[0]:
                judged[thread] += 1
                if picked is not backends[0]:
                    late.append(picked)

    with recording(ring_size=64) as seen:
        run(pick, second)
        threads = [threading.Thread(target=serve, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for epoch in range(2, 12):
            gnomon.kill(pick, reason="x")
            state[0] += 1
            run(pick, second, epoch=epoch)  # a manifest that comes meanwhile
            time.sleep(0.01)
            state[0] += 1
            gnomon.unkill(pick)
            time.sleep(0.003)
        stop.set()
        for thread in threads:
            thread.join(10.0)
        assert {decision.action for decision in seen.decisions} <= {0, 1}
        assert accounted(pick)
    assert sum(judged) > 100
    assert late == []


def test_asynchronous_functions_methods_and_open_decisions() -> None:
    @gnomon.hook("kill.async", **READ)
    async def choose(request: Any, backends: list[Item]) -> Item:
        return backends[0]

    class Router:
        @gnomon.hook("kill.method", **READ)
        def pick(self, request: Any, backends: list[Item]) -> Item:
            return backends[0]

    backends, router = items(), Router()
    with recording() as seen:
        run(choose, second)
        run(Router.pick, second)
        gnomon.kill(reason="x")
        assert asyncio.run(choose(None, backends)) is backends[0]  # type: ignore[arg-type]
        with Router.pick.decide(router, None, backends) as decision:
            assert decision.action is backends[0]
            decision.outcome(latency_ms=1.0)
        assert [outcome.arm for outcome in seen.outcomes] == ["incumbent"]


def test_a_signal_s_handler_may_give_the_order_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs on the very thread that looks up who decides, and holds the locks."""
    from gnomon.sdk import _live

    pick, backends = marked(), items()
    looked_up = _live.segment

    def interrupted(*args: Any) -> Any:
        found = looked_up(*args)
        if not gnomon.kills():
            gnomon.kill(pick, reason="a signal")
        return found

    with recording():
        run(pick, second)
        monkeypatch.setattr(_live, "segment", interrupted)
        pick(None, backends)  # in its midst the order comes
        assert pick(None, backends) is backends[0]
        assert pick.hook.killed


def test_a_forked_child_is_killed_too() -> None:
    from .test_runtime import in_child

    pick, backends = marked(), items()
    with recording():
        run(pick, second)
        gnomon.kill(reason="x")
        answer = in_child(lambda: f"{backends.index(pick(None, backends))}".encode())
    assert answer == b"0"


# --- the file -------------------------------------------------------------------------------------


def test_the_file_is_read_at_configure_and_when_it_changes(tmp_path: Path) -> None:
    pick, backends = marked(), items()
    (tmp_path / ".gnomon").mkdir()
    gnomon.kill("kill.pick", reason="x", by="ann", state_dir=".gnomon")
    with recording():
        run(pick, second)
        assert pick(None, backends) is backends[0]
        assert pick.hook.killed == "killed (file) by ann: x"
        assert gnomon.unkill("kill.pick", state_dir=".gnomon") == ()
        assert pick(None, backends) is backends[1]
        gnomon.kill("kill.other", reason="x", state_dir=".gnomon")
        assert pick(None, backends) is backends[1]
        gnomon.kill(reason="x", state_dir=".gnomon")
        assert [kill.hook for kill in gnomon.kills(".gnomon")] == ["kill.other", ""]
        assert pick(None, backends) is backends[0]
    assert not gnomon.unkill(state_dir=".gnomon")
    assert not (tmp_path / ".gnomon" / FILE).exists()


def eventually(holds: Callable[[], bool], seconds: float = 1.0) -> float:
    """Return after how many seconds something held; fail if it did not in time."""
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() - begin < seconds
        time.sleep(0.01)
    return time.monotonic() - begin


def test_whoever_writes_the_file_is_heard_within_a_second_and_a_blocked_drainer_does_not_matter(
    tmp_path: Path,
) -> None:
    class Stuck:
        def write(self, hook: Any, records: Any) -> None:
            held.wait(10.0)

        def flush(self, timeout_s: float) -> None: ...

        def close(self, timeout_s: float) -> None: ...

    held = threading.Event()
    pick, backends = marked(), items()
    RUNTIME.configure(Settings(state_dir=tmp_path, flush_interval_s=0.01), [Stuck()])
    try:
        run(pick, second)
        assert pick(None, backends) is backends[1]
        time.sleep(0.05)
        (tmp_path / FILE).touch()  # what is at hand when nothing else is
        eventually(lambda: pick(None, backends) is backends[0])
        (tmp_path / FILE).unlink()
        eventually(lambda: pick(None, backends) is backends[1])
    finally:
        held.set()
        RUNTIME.shutdown()
        pick.hook.install(Assignment())


def _text(**order: Any) -> bytes:
    whole = {"hook": "kill.pick", "reason": "r", "by": "b", "since_ns": 1} | order
    return json.dumps({"format": "gnomon kill 1", "kills": [whole]}).encode()


ODD: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.touch(),
    "junk": lambda path: path.write_bytes(b"\xff\xfe"),
    "truncated": lambda path: path.write_bytes(_text()[:-3]),
    "format": lambda path: path.write_bytes(b'{"format": "gnomon kill 2", "kills": []}'),
    "no list": lambda path: path.write_bytes(b'{"format": "gnomon kill 1", "kills": 3}'),
    "list": lambda path: path.write_bytes(b"[]"),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "long": lambda path: path.write_bytes(b" " * (2 << 20) + b"x"),
    "name": lambda path: path.write_bytes(_text(hook="no name at all")),
    "number": lambda path: path.write_bytes(_text(since_ns="soon")),
    "more": lambda path: path.write_bytes(_text(until="noon")),
    "far from now": lambda path: path.write_bytes(_text(since_ns=10**30)),
    "before all time": lambda path: path.write_bytes(_text(since_ns=-1)),
    "twice": lambda path: path.write_bytes(_text()[:-1] + b', "kills": []}'),
    "a slip": lambda path: path.write_bytes(_text().replace(b"kills", b"kill")),
    "a slip beside": lambda path: path.write_bytes(_text()[:-1] + b', "kill": []}'),
    "a pipe": lambda path: os.mkfifo(path),
    "a folder": lambda path: path.mkdir(),
    "loop": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("name", ODD)
def test_a_file_that_cannot_be_read_kills_everything(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pick, backends = marked("kill.unnamed"), items()
    file = KillFile(tmp_path)
    ODD[name](file.path)
    RUNTIME.configure(Settings(state_dir=tmp_path), [recording_sink()])
    try:
        run(pick, second)
        assert pick(None, backends) is backends[0]
        assert "cannot be read" in pick.hook.killed
        assert "cannot be read" in caplog.text
        with pytest.raises(gnomon.ConfigurationError, match="cannot be read|cannot be changed"):
            file.add(Kill("a", "r"))
    finally:
        RUNTIME.shutdown()
        pick.hook.install(Assignment())


def recording_sink() -> Any:
    from gnomon.testing import Recording

    return Recording()


@given(st.binary(max_size=200))
def test_whatever_the_file_holds_reading_it_gives_kills(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = KillFile(tmp_path_factory.getbasetemp())
    file.path.write_bytes(data)
    (kill,) = file.kills()  # hardly any bytes are a list of kills
    assert kill.covers("any") and kill.source == "file"
    assert file.lift() == () and file.kills() == ()


def test_orders_from_several_hands_are_all_kept(tmp_path: Path) -> None:
    names = [f"hook-{i}" for i in range(8)]

    def give(name: str) -> None:
        KillFile(tmp_path).add(Kill(name, "r"))

    threads = [threading.Thread(target=give, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert sorted(kill.hook for kill in KillFile(tmp_path).kills()) == names
    assert oct((tmp_path / FILE).stat().st_mode)[-3:] == "644"  # another user has to read it


SERVICE = """
import sys, time
import gnomon
from gnomon import testing
from gnomon.sdk.config import Settings
from gnomon.sdk.configure import read
from gnomon.sdk.runtime import RUNTIME

@gnomon.hook("kill.pick", kind=gnomon.load_balancer, items="backends",
             item_features=lambda b: (float(b), 1.0, 1.0))
def pick(backends):
    return backends[0]

RUNTIME.configure(read(state_dir="."), [testing.Recording()])
testing.force(pick, "def score(inflight):\\n    return -inflight\\n")
before = None
end = time.monotonic() + 60.0
while time.monotonic() < end:
    picked = pick([0, 1])
    if picked != before:
        print(picked, flush=True)
        before = picked
    time.sleep(0.005)
"""


def test_an_order_does_not_wait_for_ever_for_whoever_holds_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gnomon.sdk.kill._LOCK_S", 0.1)
    file = KillFile(tmp_path)
    with (
        open(file.path.with_suffix(".lock"), "ab") as held,
        pytest.raises(gnomon.ConfigurationError, match="touch"),
    ):
        fcntl.flock(held, fcntl.LOCK_EX)
        file.add(Kill("a", "r"))
    assert file.add(Kill("a", "r")) and file.kills()[0].hook == "a"


def test_a_folder_that_is_none_is_not_said_to_kill_nothing(tmp_path: Path) -> None:
    assert gnomon.kills(tmp_path) == ()
    with pytest.raises(gnomon.ConfigurationError, match="no state folder"):
        gnomon.kills(tmp_path / "none")


def test_another_process_notices_and_remembers_it(tmp_path: Path) -> None:
    def service(**environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", SERVICE],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def next_of(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    running = [service(), service(GNOMON_KILL="kill.pick")]
    try:
        assert [next_of(process) for process in running] == ["1", "0"]
        begin = time.monotonic()
        gnomon.kill("kill.pick", reason="x", state_dir=tmp_path)
        assert next_of(running[0]) == "0"
        assert time.monotonic() - begin < 1.0
        running.append(service())  # as after a restart
        assert next_of(running[2]) == "0"
        gnomon.unkill(state_dir=tmp_path)
        assert next_of(running[0]) == next_of(running[2]) == "1"
    finally:
        for process in running:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    ("text", "names"),
    [("1", ("",)), ("on", ("",)), ("0", ()), ("", None), ("a.b, c", ("a.b", "c"))],
)
def test_the_environment_names_hooks_or_all(text: str, names: Any) -> None:
    assert from_environment({"GNOMON_KILL": text}).get("kill") == names


def test_a_bad_name_in_the_environment_is_refused() -> None:
    with pytest.raises(gnomon.ConfigurationError, match=r"GNOMON_KILL is 'a b'.*1 for all hooks"):
        from_environment({"GNOMON_KILL": "a b"})


def test_a_log_that_raises_is_no_affair_of_the_call() -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("the log's own")

    pick, backends = marked(), items()
    handler = Broken()
    logging.getLogger("gnomon").addHandler(handler)
    try:
        with recording():
            run(pick, lambda rows: -1)
            for _ in range(4):
                assert pick(None, backends) is backends[0]
            gnomon.kill(reason="x")
            assert pick(None, [7]) == 7
            RUNTIME.round()
            assert accounted(pick)
    finally:
        logging.getLogger("gnomon").removeHandler(handler)
