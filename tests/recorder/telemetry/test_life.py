"""A service's whole life: before its first call, threads, forks, a stuck receiver, exit; every record accounted for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import gnomon
from gnomon.sdk.configure import configure
from gnomon.sdk.records import Decision, Outcome, Record
from gnomon.sdk.runtime import RUNTIME
from gnomon.sdk.telemetry import OtlpSink
from gnomon.sdk.telemetry.accounting import Account
from gnomon.sdk.telemetry.export import Limits
from gnomon.sdk.telemetry.settings import Settings

from .receivers import Receiver, Request, Response, serving

_SERVICE = '''
import json, logging, os, sys, threading, time
logging.basicConfig(format="%(message)s", level=logging.WARNING)
import gnomon
from gnomon.sdk.records import Decision

@gnomon.hook("life.pick", kind=gnomon.load_balancer, items="xs",
             item_features=lambda x: (0.0, 1.0, 1.0), outcome=lambda x: {"latency_ms": 1.0})
def pick(xs): return xs[0]

ITEMS = ["a", "b"]

class Types:
    """Counts what hooks hand to sinks, by type."""
    def __init__(self): self.seen = {}
    def write(self, hook, records):
        for record in records:
            name = type(record).__name__
            self.seen[name] = self.seen.get(name, 0) + 1
    def flush(self, timeout_s): ...
    def close(self, timeout_s): ...

def configure(**more):
    global types
    types = Types()
    gnomon.configure(service="life", otlp_endpoint=sys.argv[1], sink=types, **more)

def call(n):
    for _ in range(n): pick(ITEMS)

def report(who):
    account = gnomon.accounts()["otlp"]
    told = {name: getattr(account, name) for name in
            ("recorded", "acknowledged", "dropped", "unknown", "pending")}
    told.update(who=who, reasons=dict(account.reasons), seen=types.seen,
                process=gnomon.sdk.runtime.RUNTIME.process_id.hex(), **pick.hook.counters)
    # One write: workers share the pipe, and print may give the line's end by itself.
    os.write(1, (json.dumps(told) + "\\n").encode())
'''


def service(target: str, program: str, wait_s: float = 240.0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", _SERVICE + program, f"http://{target}"],
        capture_output=True,
        text=True,
        timeout=wait_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


def reports(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    found = {each["who"]: each for each in map(json.loads, done.stdout.splitlines())}
    for told in found.values():
        exact(told)
    return found


def exact(told: dict[str, Any]) -> None:
    """Check every sum from the hook's calls to what became of its records."""
    kept = (
        told["recorded_by_hook"] if "recorded_by_hook" in told else told["seen"].get("Decision", 0)
    )
    assert told["decisions"] == kept + sum(
        told[name] for name in ("skipped", "dropped_by_hook", "failed", "raised")
    )


def arrived(receiver: Receiver) -> Counter[str]:
    return Counter(log.event_name for log in receiver.logs)


# `recorded` and `dropped` are names of the hook's counters and of the account's numbers.
_SERVICE = _SERVICE.replace(
    "**pick.hook.counters",
    '**{name + "_by_hook" * (name in told): n for name, n in pick.hook.counters.items()}',
)


def test_nothing_runs_and_nothing_is_connected_before_a_first_call() -> None:
    receiver = Receiver()
    with serving(receiver) as target:
        done = service(
            target,
            """
def at_rest():
    links = (os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
             if os.path.lexists(f"/proc/self/fd/{n}"))
    return [len(os.listdir("/proc/self/task")), sum(link.startswith("socket:") for link in links)]
configure(flush_interval_s=0.05)
end = time.monotonic() + 60
while at_rest() != [1, 0] and time.monotonic() < end:  # the SDK makes a Resource in a thread, which ends
    time.sleep(0.01)
print(at_rest())
call(1)
gnomon.flush(20)
print(at_rest()[0] > 1)
""",
        )
    assert done.stdout.splitlines() == ["[1, 0]", "True"]
    assert arrived(receiver)["gnomon.decision"] == 1


def test_at_exit_everything_is_delivered_and_nothing_is_said() -> None:
    receiver = Receiver()
    with serving(receiver) as target:
        done = service(
            target,
            """
import atexit
configure(flush_interval_s=60.0)
gnomon.sdk.runtime.atexit.unregister(gnomon.shutdown)
call(3000)
atexit._run_exitfuncs()  # what the interpreter does, and then something to print
report("service")
""",
        )
    (told,) = reports(done).values()
    assert told["acknowledged"] == told["recorded"] == 3000 + 3000 + told["seen"]["Workload"]
    assert done.stderr == ""
    assert arrived(receiver)["gnomon.decision"] == told["recorded_by_hook"] == 3000


def test_a_process_that_ends_at_once_delivers_all_the_same() -> None:
    """Nothing was drained before the interpreter ends, when modules with threads cannot be imported."""
    receiver = Receiver()
    with serving(receiver) as target:
        done = service(target, "configure(flush_interval_s=60.0)\ncall(40)\n")
    assert done.stderr == ""
    assert arrived(receiver)["gnomon.decision"] == arrived(receiver)["gnomon.outcome"] == 40


_LINE = re.compile(
    r"sink otlp closed: (\d+) records, of which acknowledged (\d+), dropped (\d+)(?: \((.*)\))?, "
    r"unknown (\d+), pending (\d+)"
)


def said(done: subprocess.CompletedProcess[str]) -> tuple[list[int], str]:
    """Return the numbers of the one line that a sink leaves behind, and its reasons."""
    (line,) = [line for line in done.stderr.splitlines() if "closed:" in line]
    match = _LINE.fullmatch(line)
    assert match is not None, line
    numbers = [int(match[i]) for i in (1, 2, 3, 5, 6)]
    assert numbers[0] == sum(numbers[1:])
    return numbers, match[4] or ""


def test_at_exit_what_a_stuck_receiver_holds_is_unknown_and_said_in_one_line() -> None:
    release = threading.Event()

    def never(_: Request, __: Any) -> Response:
        release.wait(60)
        return Response()

    receiver = Receiver(never)
    with serving(receiver) as target:
        done = service(
            target,
            """
from gnomon.sdk.telemetry import OtlpSink
from gnomon.sdk.telemetry.export import Limits
gnomon.configure(service="life", sink=OtlpSink(sys.argv[1], limits=Limits(batch=100, backlog=1000)),
                 flush_interval_s=0.05)
call(2000)
time.sleep(0.5)
""",
        )
        release.set()
    (recorded, acknowledged, dropped, unknown, pending), reasons = said(done)
    assert (acknowledged, pending) == (0, 0)
    assert recorded >= 4000
    assert unknown == 200  # two senders held a batch each
    assert dropped == recorded - 200
    assert set(re.findall(r"[a-z ]+(?=:)", reasons)) <= {"backlog full", " closed", "closed"}


def test_at_exit_with_nobody_there_everything_is_dropped_and_said() -> None:
    done = service("127.0.0.1:1", "configure(flush_interval_s=0.05)\ncall(50)\n")
    (recorded, acknowledged, dropped, unknown, _), _ = said(done)
    assert (acknowledged, dropped, unknown) == (0, recorded, 0)
    assert recorded >= 100


_FORKING = """
def work(who, n):
    call(n)
    gnomon.shutdown(20)
    report(who)
pids = []
def child(who, n):
    pid = os.fork()
    if not pid:
        try: work(who, n)
        finally: os._exit(0)
    pids.append(pid)
"""


def test_forked_before_the_first_call_every_process_delivers() -> None:
    receiver = Receiver()
    with serving(receiver) as target:
        done = service(
            target,
            _FORKING
            + """
configure(flush_interval_s=0.05)
for number in range(3): child(f"worker {number}", 200 + number)
for pid in pids: os.waitpid(pid, 0)
work("parent", 100)
""",
        )
    found = reports(done)
    assert [found[f"worker {i}"]["acknowledged"] for i in range(3)] == [
        2 * (200 + i) + found[f"worker {i}"]["seen"]["Workload"] for i in range(3)
    ]
    assert found["parent"]["recorded_by_hook"] == 100
    assert len({each["process"] for each in found.values()}) == 4
    assert arrived(receiver)["gnomon.decision"] == 703
    ids = [bytes_of(log) for log in receiver.logs if log.event_name == "gnomon.decision"]
    assert len(set(ids)) == 703


def bytes_of(log: Any) -> bytes:
    (value,) = (a.value.bytes_value for a in log.attributes if a.key == "gnomon.decision.id")
    found: bytes = value
    return found


def test_forked_after_the_first_call_a_child_drops_and_counts_and_the_parent_goes_on() -> None:
    receiver = Receiver()
    with serving(receiver) as target:
        done = service(
            target,
            _FORKING
            + """
configure(flush_interval_s=0.05)
call(150)
gnomon.flush(20)
child("worker", 70)
os.waitpid(pids[0], 0)
work("parent", 50)
""",
        )
    found = reports(done)
    worker, parent = found["worker"], found["parent"]
    assert worker["reasons"] == {"forked": worker["recorded"]}
    assert (worker["recorded_by_hook"], worker["pending"]) == (70, 0)
    assert parent["recorded_by_hook"] == 200
    assert parent["acknowledged"] == parent["recorded"] == sum(parent["seen"].values())
    assert arrived(receiver)["gnomon.decision"] == 200


def test_records_that_wait_at_a_fork_stay_the_parents() -> None:
    """Nothing is sent twice, nothing is lost, though the child copied the ring."""
    receiver = Receiver()
    with serving(receiver) as target:
        done = service(
            target,
            _FORKING
            + """
configure(flush_interval_s=60.0)
call(1)          # starts the drainer, which sleeps; gRPC is not in use yet
call(99)
child("worker", 10)
os.waitpid(pids[0], 0)
work("parent", 0)
""",
        )
    found = reports(done)
    assert found["worker"]["recorded_by_hook"] == 10
    assert found["parent"]["recorded_by_hook"] == 100
    assert arrived(receiver)["gnomon.decision"] == 110
    assert found["worker"]["acknowledged"] == found["worker"]["recorded"]


def test_a_prefork_server_with_threads_and_ordinary_exits() -> None:
    """As gunicorn does it: the application is loaded once, workers end by sys.exit and their handlers."""
    receiver = Receiver()
    with serving(receiver) as target:
        done = service(
            target,
            """
configure(flush_interval_s=0.02)
def serve(number):
    threads = [threading.Thread(target=call, args=(250,)) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    import atexit
    atexit.register(lambda: None)
    gnomon.shutdown(20)
    report(f"worker {number}")
    sys.exit(0)
pids = []
for number in range(4):
    pid = os.fork()
    if not pid: serve(number)
    pids.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
assert codes == [0] * 4, codes
""",
        )
    found = reports(done)
    assert len(found) == 4
    for told in found.values():
        assert told["decisions"] == told["recorded_by_hook"] == 1000
        assert told["acknowledged"] == told["recorded"] == sum(told["seen"].values())
    assert arrived(receiver)["gnomon.decision"] == 4000


def test_a_logger_provider_of_a_prefork_server(tmp_path: Path) -> None:
    """The provider is made before the fork, with a processor that survives one; each process counts its own."""
    done = service(
        "unused",
        _FORKING
        + """
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
class ToFile:
    def export(self, batch):
        with open(FOLDER + f"/{os.getpid()}", "a") as file:
            file.writelines(f"{log.log_record.event_name}\\n" for log in batch)
    def shutdown(self): ...
    def force_flush(self, timeout_millis=0): return True
provider = LoggerProvider(shutdown_on_exit=False)
provider.add_log_record_processor(BatchLogRecordProcessor(ToFile()))
gnomon.configure(service="life", logger_provider=provider, flush_interval_s=0.02)
def work(who, n):
    call(n)
    gnomon.shutdown(20)
    account = gnomon.accounts()["logger_provider"]
    os.write(1, (" ".join(map(str, (os.getpid(), account.acknowledged, account.recorded, pick.hook.counters["recorded"]))) + "\\n").encode())
call(30)
gnomon.flush(20)
for number in range(2): child("", 100 + number)
for pid in pids: os.waitpid(pid, 0)
work("", 20)
""".replace("FOLDER", repr(str(tmp_path))),
    )
    counted = []
    for line in done.stdout.splitlines():
        process, acknowledged, recorded, decisions = map(int, line.split())
        written = Counter((tmp_path / str(process)).read_text().splitlines())
        assert acknowledged == recorded == written.total()
        assert decisions == written["gnomon.decision"]
        counted.append(decisions)
    assert sorted(counted) == [50, 100, 101]


@pytest.fixture
def hooked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a hook in a runtime that has no other."""
    gnomon.shutdown()
    monkeypatch.setattr(RUNTIME, "hooks", {})

    @gnomon.hook(
        "life.here",
        kind=gnomon.load_balancer,
        items="xs",
        item_features=lambda x: (0.0, 1.0, 1.0),
        outcome=lambda x: {"latency_ms": 1.0},
    )
    def pick(xs: list[str]) -> str:
        return xs[0]

    yield pick
    gnomon.shutdown()


class Seen:
    """Counts by type what is handed to sinks."""

    def __init__(self) -> None:
        self.types: Counter[type] = Counter()

    def write(self, hook: Any, records: Sequence[Record]) -> None:
        self.types.update(map(type, records))

    def flush(self, timeout_s: float) -> None: ...

    def close(self, timeout_s: float) -> None: ...


def whole(hook: Any, seen: Seen, account: Account) -> None:
    """Check the sums from the calls of a hook to what became of its records."""
    counted = hook.hook.counters
    assert counted["decisions"] == sum(
        counted[name] for name in ("recorded", "skipped", "dropped", "failed", "raised")
    )
    assert counted["recorded"] == seen.types[Decision]
    assert counted["outcomes"] + counted["missing_outcomes"] == seen.types[Outcome]
    assert account.recorded == seen.types.total()
    assert (
        account.recorded
        == account.acknowledged + account.dropped + account.unknown + account.pending
    )


def test_many_threads_a_small_ring_and_a_stuck_receiver(hooked: Any) -> None:
    """Every call is somewhere: not in the ring for want of room, in no backlog, unknown, or waiting."""
    release = threading.Event()

    def never(_: Request, __: Any) -> Response:
        release.wait(60)
        return Response()

    with serving(Receiver(never)) as target:
        otlp = OtlpSink(
            settings=Settings(target, timeout_s=60.0), limits=Limits(backlog=500, batch=50)
        )
        seen = Seen()
        configure([otlp, seen], ring_size=200, flush_interval_s=0.01)
        threads = [
            threading.Thread(target=lambda: [hooked(["a", "b"]) for _ in range(2_000)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gnomon.flush(0.05)
        accounts = gnomon.accounts()
        assert list(accounts) == ["otlp", "Seen"]
        whole(hooked, seen, accounts["otlp"])
        assert accounts["otlp"].pending > 0
        assert hooked.hook.counters["decisions"] == 16_000
        assert accounts["Seen"].acknowledged == accounts["Seen"].recorded == seen.types.total()
        gnomon.shutdown(0.05)
        after = gnomon.accounts()["otlp"]
        whole(hooked, seen, after)
        assert (after.pending, after.acknowledged) == (0, 0)
        release.set()


def test_a_sink_that_raises_leaves_unknown(hooked: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Raises(Seen):
        name = "mine"

        def write(self, hook: Any, records: Sequence[Record]) -> None:
            super().write(hook, records)
            raise OSError("disk full")

    seen = Raises()
    configure([seen, Seen(), Seen()], flush_interval_s=60.0)
    for _ in range(10):
        hooked(["a"])
    gnomon.shutdown()
    accounts = gnomon.accounts()
    assert list(accounts) == ["mine", "Seen", "Seen-2"]
    whole(hooked, seen, accounts["mine"])
    assert accounts["mine"].unknown == accounts["Seen"].acknowledged == seen.types.total()
    assert caplog.text.count("sink mine closed: ") == 1
    assert "sink Seen closed" not in caplog.text


def test_accounts_are_of_the_configuration_in_force(hooked: Any) -> None:
    configure([Seen()], flush_interval_s=60.0)
    hooked(["a"])
    gnomon.shutdown()
    assert gnomon.accounts()["Seen"].recorded > 0
    configure([Seen()], flush_interval_s=60.0)
    assert gnomon.accounts()["Seen"].recorded == 0
