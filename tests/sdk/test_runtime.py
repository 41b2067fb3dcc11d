"""The process around the hooks: threads, sinks that fail, forks, shutdown, settings."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gnomon
from gnomon.sdk import configure as configuring
from gnomon.sdk.config import Settings, from_environment
from gnomon.sdk.records import Decision, Record
from gnomon.sdk.ring import FieldRing, Ring, Tally
from gnomon.sdk.runtime import RUNTIME
from gnomon.testing import FakeClock, Recording, fake_trace, force, recording

from .common import KIND, READ, SWITCHBACK, items, run


class Broken:
    """A sink that fails in every way."""

    def write(self, hook: Any, records: Sequence[Record]) -> None:
        raise OSError("no space")

    def flush(self, timeout_s: float) -> None:
        raise OSError("no space")

    def close(self, timeout_s: float) -> None:
        raise OSError("no space")


@pytest.fixture
def pick() -> Any:
    return gnomon.hook("a", **READ)(lambda request, backends: backends[0])


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("gnomon")]


def test_no_thread_before_the_first_call(pick: Any) -> None:
    gnomon.configure(sink=Recording())
    assert threads() == []
    pick(None, items())
    assert sorted(threads()) == ["gnomon", "gnomon-kill"]
    gnomon.shutdown()
    assert threads() == []


def test_the_drainer_delivers_without_being_asked(pick: Any) -> None:
    sink = Recording()
    gnomon.configure(sink=sink, flush_interval_s=0.01)
    pick(None, items())
    end = time.monotonic() + 60
    while not sink.records and time.monotonic() < end:
        time.sleep(0.01)
    assert [type(r).__name__ for _, r in sink.records] == ["Workload", "Decision"]


def test_shutdown_hands_on_what_waits_and_leaves_the_function(pick: Any) -> None:
    sink = Recording()
    gnomon.configure(sink=sink, flush_interval_s=60.0)
    pick(None, items())
    gnomon.shutdown()
    assert any(isinstance(r, Decision) for _, r in sink.records)
    assert pick(None, items()).name == "item-0"
    gnomon.shutdown()


def test_sinks_that_fail_are_counted_and_do_not_hurt_others(
    pick: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Recording()
    RUNTIME.configure(Settings(flush_interval_s=60.0), [Broken(), sink])
    for _ in range(3):
        assert pick(None, items()).name == "item-0"
        gnomon.flush()
    assert len([r for _, r in sink.records if isinstance(r, Decision)]) == 3
    assert RUNTIME.failed_writes == 6
    gnomon.shutdown()
    assert len([r for r in caplog.records if "failed" in r.message]) == 1


def test_configure_with_nothing_to_do_stays_off(pick: Any) -> None:
    gnomon.configure()
    pick(None, items())
    assert pick.hook.counters["decisions"] == 0


def test_the_measure_gets_every_record(pick: Any) -> None:
    got: list[Record] = []
    with recording() as seen:
        pick.hook.measure = SimpleNamespace(add=got.append)
        pick(None, items())
        assert [*seen.workload, *seen.decisions] == got
        assert len(got) == 2


def test_shutdown_keeps_its_deadline_with_a_recorder_that_is_down(pick: Any) -> None:
    """The sink gets what is left of the time, not a time of its own."""
    left: list[float] = []
    sink = SimpleNamespace(write=lambda hook, records: None, close=left.append)
    RUNTIME.configure(Settings(), [sink])
    pick(None, items())
    gnomon.shutdown(0.5)
    assert 0.0 <= left[0] <= 0.5


def test_a_canary_is_measured_by_assigned_arm(pick: Any) -> None:
    """What the hook records is what the measure adds up: fallbacks count for the candidate."""
    from gnomon.sdk.measure import BlockMeasure

    clock = FakeClock()
    answers = iter([1, -1] * 100)
    with recording(clock=clock) as seen:
        run(pick, lambda rows: next(answers), phase="canary", switchback=SWITCHBACK)
        measure = pick.hook.measure = BlockMeasure(KIND)
        measure.follow(SWITCHBACK, 1, clock.unix_ns - 2 * SWITCHBACK.block_ns)
        for _ in range(60):
            with pick.decide(None, items()) as decision:
                clock.advance(0.3)
                decision.outcome(latency_ms=5.0)
            clock.advance(0.31)
        decisions = seen.decisions
        reports = {(r.block, r.arm): r for r in measure.reports()}
    assert sum(r.count for r in reports.values()) == len(decisions) == 60
    for (block, arm), report in reports.items():
        own = [d for d in decisions if (d.block, d.arm) == (block, arm)]
        assert report.count == len(own)
        assert report.sum == 5.0 * len(own)
        assert report.fallbacks == sum(d.reason == "fallback" for d in own)
    assert {arm for _, arm in reports} == {"stable", "candidate"}


def test_delivery_runs_beside_the_drainer(pick: Any) -> None:
    done: list[str] = []
    client = SimpleNamespace(
        start=lambda: done.append(threading.current_thread().name), stop=lambda: done.append("stop")
    )
    RUNTIME.configure(Settings(flush_interval_s=0.01), [], lambda: client)
    pick(None, items())
    end = time.monotonic() + 60
    while not done and time.monotonic() < end:
        time.sleep(0.01)
    gnomon.shutdown()
    assert done == ["gnomon", "stop"]


def test_the_last_records_are_measured_before_delivery_stops(pick: Any) -> None:
    """Else the last block report would be made without them."""
    measured: list[Record] = []
    at_stop: list[int] = []
    client = SimpleNamespace(start=lambda: None, stop=lambda: at_stop.append(len(measured)))
    RUNTIME.configure(Settings(flush_interval_s=60.0), [], lambda: client)
    pick(None, items())
    end = time.monotonic() + 60
    while RUNTIME.delivery is None and time.monotonic() < end:
        time.sleep(0.01)
    pick.hook.measure = SimpleNamespace(add=measured.append)
    for _ in range(5):
        pick(None, items())
    gnomon.shutdown()
    assert at_stop == [7]  # six decisions, and who the items are


def test_a_local_store_takes_the_records(pick: Any, tmp_path: Path) -> None:
    gnomon.configure(store=tmp_path / "traces", service="tests")
    with pick.decide("u", items()) as decision:
        decision.outcome(latency_ms=2.0)
    gnomon.shutdown()
    from gnomon.recorder.store import TraceStore

    table = TraceStore(tmp_path / "traces").decisions("a")
    assert table["decision_id"].to_pylist() == [decision.id]
    assert table["outcome_status"].to_pylist() == ["reported"]


def in_child(work: Any) -> bytes:
    """Run ``work`` in a fork and return the bytes that it returns."""
    source, target = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(target, work())
        finally:
            os._exit(0)
    os.close(target)
    with os.fdopen(source, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return answer


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_begins_anew(pick: Any) -> None:
    sink = Recording()
    gnomon.configure(sink=sink, flush_interval_s=60.0)
    pick(None, items())
    lock = pick.hook.live.lock
    held = threading.Event()
    free = threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            free.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)

    def child() -> bytes:
        before = len(sink.records)
        with pick.decide(None, items()) as decision:
            pass
        gnomon.flush()
        fresh = [r for _, r in sink.records[before:]]
        kinds = ",".join(type(r).__name__ for r in fresh)
        counted = pick.hook.counters["decisions"]
        return f"{decision.id.hex()} {kinds} {counted} {threads()}".encode()

    answer = in_child(child).decode()
    free.set()
    holder.join()
    decision_id, kinds, counted, running = answer.split(" ", 3)
    assert decision_id[:16] != pick.hook.process_id
    assert decision_id[16:] == f"{1:016x}"  # numbers go on, so that none means two decisions
    assert (kinds, counted, running) == (
        "Workload,Decision", "1", "['gnomon', 'gnomon-kill']",
    )  # fmt: skip
    gnomon.flush()
    assert len([r for _, r in sink.records if isinstance(r, Decision)]) == 1


def test_accounting_is_exact_under_threads(pick: Any) -> None:
    """A small ring overflows under six threads; every call is recorded or counted as dropped."""
    backends = items()
    with recording(ring_size=32) as seen:
        stop = threading.Event()

        def drain() -> None:
            while not stop.is_set():
                RUNTIME.round()

        def call() -> None:
            for _ in range(2000):
                pick(None, backends)

        drainer = threading.Thread(target=drain)
        callers = [threading.Thread(target=call) for _ in range(6)]
        for thread in (drainer, *callers):
            thread.start()
        for thread in callers:
            thread.join()
        stop.set()
        drainer.join()
        seqs = [d.seq for d in seen.decisions]
        counters = pick.hook.counters
    assert counters["decisions"] == 12_000
    assert counters["recorded"] == len(seqs) == len(set(seqs))
    assert counters["recorded"] + counters["dropped"] == 12_000
    assert all(f >= 1.0 for d in seen.decisions for f in d.features[2::4])


def test_names_of_items_are_told_when_the_ring_was_full(pick: Any) -> None:
    with recording(ring_size=1) as seen:
        pick(None, items(2))
        pick(None, items(3))
        names = [dict(event.values)["names"].count("\n") + 1 for event in seen.workload]
    assert names[-1] == 3


@given(st.lists(st.sampled_from(["offer", "take"]), max_size=60), st.integers(1, 5))
def test_ring_against_a_list(steps: list[str], room: int) -> None:
    ring, model, refused = Ring(room), [], 0
    for number, step in enumerate(steps):
        if step == "offer":
            fits = len(model) < room
            assert ring.offer(number) == fits
            model += [number] if fits else []
            refused += not fits
        else:
            assert ring.take() == model
            model = []
    assert list(ring.items) == model


def test_fields_of_one_record_stay_together_under_threads() -> None:
    ring, done = FieldRing(), threading.Event()
    taken: list[Any] = []

    def drain() -> None:
        while not done.is_set():
            taken.extend(ring.take())

    def push(worker: int) -> None:
        for number in range(4000):
            ring.push((worker, number, number + 1, number + 2))

    drainer = threading.Thread(target=drain)
    workers = [threading.Thread(target=push, args=(w,)) for w in range(4)]
    for thread in (drainer, *workers):
        thread.start()
    for worker in workers:
        worker.join()
    done.set()
    drainer.join()
    taken += ring.take()
    assert len(taken) == 4 * 4 * 4000
    records = list(zip(*[iter(taken)] * 4, strict=True))
    assert all(second == first + 1 and third == first + 2 for _, first, second, third in records)
    for worker in range(4):
        assert [first for who, first, _, _ in records if who == worker] == list(range(4000))


def test_tally_is_exact_under_threads() -> None:
    tally = Tally()
    workers = [
        threading.Thread(target=lambda: [tally.bump() for _ in range(5000)]) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert int(tally) == 20_000
    assert tally.bump() == 20_000
    tally.clear()
    assert int(tally) == 0


def test_settings_from_the_environment() -> None:
    found = from_environment(
        {
            "GNOMON_DISABLED": "true",
            "GNOMON_CONTROL_PLANE": "h:1",
            "GNOMON_PUBLISHER_KEYS": "a.pub, b.pub",
            "GNOMON_SAMPLE": "0.25",
            "GNOMON_MIN_EPOCH": "7",
            "GNOMON_CELL": "",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://all",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://logs",
        }
    )
    assert found == {
        "disabled": True,
        "control_plane": "h:1",
        "publisher_keys": (Path("a.pub"), Path("b.pub")),
        "sample": 0.25,
        "min_epoch": 7,
        "otlp_endpoint": "http://logs",
    }


@pytest.mark.parametrize(
    ("variable", "text"),
    [("GNOMON_SAMPLE", "lots"), ("GNOMON_MIN_EPOCH", "1.5"), ("GNOMON_DISABLED", "maybe")],
)
def test_bad_variables_are_named(variable: str, text: str) -> None:
    with pytest.raises(gnomon.ConfigurationError, match=f"{variable} is '{text}'"):
        from_environment({variable: text})


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNOMON_SAMPLE", "0.5")
    monkeypatch.setenv("GNOMON_DISABLED", "1")
    assert configuring.read().sample == 0.5
    settings = configuring.read(sample=0.75, disabled=False, cell=None)
    assert (settings.sample, settings.disabled, settings.cell) == (0.75, False, "default")


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"sample": 1.5}, "sample is 1.5"),
        ({"sample": float("nan")}, "sample is nan"),
        ({"ring_size": 0}, "ring_size is 0"),
        ({"flush_interval_s": -1.0}, "flush_interval_s is -1.0"),
        ({"min_epoch": -1}, "min_epoch is -1"),
        ({"control_plane": "127.0.0.1:1"}, "publisher_keys is empty"),
        ({"control_plane": "nowhere", "publisher_keys": ["x.pub"]}, "host:port"),
        ({"control_plane": "127.0.0.1:1", "publisher_keys": ["missing.pub"]}, "missing.pub"),
    ],
)
def test_bad_settings_are_named_and_leave_the_service_as_it_was(
    pick: Any, given_: dict[str, Any], message: str
) -> None:
    with pytest.raises(gnomon.ConfigurationError, match=message):
        gnomon.configure(**given_)
    assert pick(None, items()).name == "item-0"


def test_an_unreachable_control_plane_changes_nothing(pick: Any, tmp_path: Path) -> None:
    from gnomon.sdk import keys

    _, public = keys.save(keys.generate(), tmp_path, "p", "publisher")
    gnomon.configure(
        control_plane="127.0.0.1:9", publisher_keys=[public], state_dir=tmp_path, sink=Recording()
    )
    for _ in range(3):
        assert pick(None, items()).name == "item-0"
    gnomon.shutdown(5.0)
    assert threads() == []


def test_live_shadow_compares_within_its_budget() -> None:
    pick = gnomon.hook("s", **READ)(lambda request, backends: backends[0])
    answers = iter([0, 1, -1, 2])
    clock = FakeClock()
    gnomon.invariant(pick, name="not_last")(lambda items, picked: picked is not items[2])

    def choose(rows: Any) -> int:
        clock.advance(0.001)
        return next(answers)

    with recording(clock=clock) as seen:
        run(pick, choose, phase="shadow", shadow_rate=1.0)
        clock.advance(0.5)  # earns 5 ms, beside the first 2
        for _ in range(4):
            assert pick(None, items()).name == "item-0"
        assert {d.arm for d in seen.decisions} == {"stable"}
        counters = pick.hook.counters
        shadow = {k: v for k, v in counters.items() if k.startswith("shadow_")}
    assert shadow == {
        "shadow_decisions": 4,
        "shadow_diverged": 3,
        "shadow_faults": 1,
        "shadow_violations": 1,
        "shadow_warnings": 0,
        "shadow_shed": 0,
    }


def test_live_shadow_sheds_first() -> None:
    pick = gnomon.hook("s", **READ)(lambda request, backends: backends[0])
    clock = FakeClock()

    def choose(rows: Any) -> int:
        clock.advance(0.001)
        return 0

    with recording(clock=clock) as seen:
        run(pick, choose, phase="shadow", shadow_rate=1.0)
        for _ in range(10):
            pick(None, items())
        assert len(seen.decisions) == 10
        counters = pick.hook.counters
    assert counters["shadow_decisions"] == 3
    assert counters["shadow_shed"] == 7


def test_force_runs_baselines_and_refuses_others() -> None:
    lb = gnomon.load_balancer
    pick = gnomon.hook(
        "lb", kind=lb, items="backends", item_features=lambda b: (b.inflight, b.ewma_ms, 0.5)
    )(lambda request, backends: backends[0])
    backends = items(3)
    backends[0].inflight = backends[1].inflight = 2
    with recording():
        force(pick, "least_outstanding")
        assert pick(None, backends) is backends[2]
        with pytest.raises(gnomon.ConfigurationError, match="no baseline 'power_of_nothing'"):
            force(pick, "power_of_nothing")
        with pytest.raises(gnomon.LanguageError):
            force(pick, "import os\n")
    assert pick(None, backends) is backends[0]


def test_fake_traces_are_whole_and_the_same_for_a_seed() -> None:
    trace = fake_trace(KIND, 20, members=2, seed=3)
    assert (
        trace == fake_trace(KIND, 20, members=2, seed=3) != fake_trace(KIND, 20, members=2, seed=4)
    )
    decisions = [r for r in trace if isinstance(r, Decision)]
    assert len(trace) == 41
    assert all(len(d.features) == 2 * len(KIND.inputs) for d in decisions)
    assert all(f.low <= v <= f.high for d in decisions for f, v in zip(KIND.inputs, d.features))


def test_public_names_are_all_there() -> None:
    assert gnomon.__all__ == sorted(gnomon.__all__)
    for name in gnomon.__all__:
        assert getattr(gnomon, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gnomon.nothing
