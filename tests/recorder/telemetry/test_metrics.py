"""Hooks' counters reach the user's MeterProvider."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import opentelemetry.metrics
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import gnomon
from gnomon.sdk import configure as configuring
from gnomon.sdk.assignment import Assignment
from gnomon.sdk.runtime import RUNTIME
from gnomon.sdk.telemetry import metrics
from gnomon.sdk.telemetry.accounting import Accounting

from ..fakes import FakeHook


def collected(reader: InMemoryMetricReader) -> dict[str, dict[tuple[Any, ...], float]]:
    """Return the points by instrument and sorted attribute values."""
    data: Any = reader.get_metrics_data()
    return {
        metric.name: {
            tuple(sorted(point.attributes.values())): point.value
            for point in metric.data.data_points
        }
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }


def test_instruments_show_what_hooks_count() -> None:
    hooks: list[FakeHook] = []
    accounting = Accounting()
    accounting.record(10)
    accounting.settle(acknowledged=6, unknown=1, dropped=2, why="unreachable")
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    metrics.register(
        hooks, provider, accounts=lambda: {"otlp": accounting.account()}, stale_s=lambda: 2.5
    )
    counters = {"decisions": 7, "dropped": 1, "faults": 2, "violations": 3, "missing_outcomes": 4}
    counters["breaker_trips"] = 1
    hooks.append(FakeHook("late.pick", counters=counters))
    hooks.append(FakeHook("stopped.pick", killed="killed (file): x"))
    found = collected(reader)
    provider.shutdown()
    assert found["gnomon.decisions"] == {("late.pick",): 7}
    assert found["gnomon.records.dropped"] == {("late.pick", "no room"): 1}
    assert found["gnomon.fallbacks"] == {("fault", "late.pick"): 2, ("late.pick", "violation"): 3}
    assert found["gnomon.invariant.violations"] == {("late.pick",): 3}
    assert found["gnomon.outcomes.missing"] == {("late.pick",): 4}
    assert found["gnomon.breaker.trips"] == {("late.pick",): 1}
    assert found["gnomon.policy.killed"] == {("late.pick",): 0, ("stopped.pick",): 1}
    assert found["gnomon.policy.staleness"] == {(): 2.5}
    assert found["gnomon.records.exported"] == {
        ("acknowledged", "otlp"): 6,
        ("dropped", "otlp"): 2,
        ("otlp", "unknown"): 1,
    }
    account = accounting.account()
    assert account.recorded == account.acknowledged + account.dropped + account.unknown + 1
    assert account.pending == 1


def test_every_counter_exists_in_a_real_hook() -> None:
    """The names that instruments read are names that hooks count under."""
    import gnomon.sdk.hook
    from gnomon.sdk.telemetry.metrics import _COUNTERS

    source = "".join(
        path.read_text(encoding="utf-8")
        for path in __import__("pathlib").Path(gnomon.sdk.hook.__file__).parent.glob("*.py")
    )
    for _, _, _, counters in _COUNTERS:
        for counter in counters.values():
            assert f'"{counter}"' in source


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """Yield a reader of the global MeterProvider, of a process in which nothing is configured."""
    found = InMemoryMetricReader()
    provider = MeterProvider([found], shutdown_on_exit=False)
    gnomon.shutdown()
    monkeypatch.setattr(opentelemetry.metrics, "get_meter_provider", lambda: provider)
    monkeypatch.setattr(configuring, "_metered", [])
    monkeypatch.setattr(RUNTIME, "hooks", {})
    yield found
    gnomon.shutdown()
    provider.shutdown()


def hooked(name: str) -> Any:
    @gnomon.hook(
        name,
        kind=gnomon.load_balancer,
        items="xs",
        item_features=lambda x: (0.0, 1.0, 1.0),
        outcome=lambda x: {"latency_ms": 1.0},
    )
    def pick(xs: list[str]) -> str:
        return xs[0]

    return pick


def fates(reader: InMemoryMetricReader) -> dict[str, float]:
    """Return the records by sink and fate that are not 0."""
    exported = collected(reader).get("gnomon.records.exported", {})
    return {" ".join(sorted(key)): value for key, value in exported.items() if value}


class Took:
    """A sink that takes everything."""

    def write(self, hook: Any, records: Sequence[Any]) -> None: ...

    def flush(self, timeout_s: float) -> None: ...

    def close(self, timeout_s: float) -> None: ...


class Other(Took):
    """Another."""


def test_what_is_configured_and_decorated_later_is_collected(reader: InMemoryMetricReader) -> None:
    configuring.configure([Took()], flush_interval_s=60.0)
    pick = hooked("later.pick")
    for _ in range(5):
        pick(["a"])
    gnomon.flush()
    found = collected(reader)
    assert found["gnomon.decisions"] == {("later.pick",): 5}
    assert found["gnomon.fallbacks"][("fault", "later.pick")] == 0
    assert fates(reader) == {"Took acknowledged": 11}  # decisions, outcomes, who the items are


def test_a_second_configure_is_the_one_that_is_read(reader: InMemoryMetricReader) -> None:
    """The instruments are made once and follow what is in force; hooks count from 0 again."""
    configuring.configure([Took()], flush_interval_s=60.0)
    pick = hooked("twice.pick")
    pick(["a"])
    gnomon.flush()
    configuring.configure([Took(), Other()], flush_interval_s=60.0)
    pick(["a"])
    pick(["a"])
    gnomon.flush()
    assert collected(reader)["gnomon.decisions"] == {("twice.pick",): 2}
    assert fates(reader) == {"Other acknowledged": 5, "Took acknowledged": 5}
    gnomon.shutdown()
    assert fates(reader) == {"Other acknowledged": 5, "Took acknowledged": 5}  # for a last export


def test_fallbacks_and_violations_of_a_program(reader: InMemoryMetricReader) -> None:
    configuring.configure([Took()], flush_interval_s=60.0)
    pick = hooked("program.pick")

    @gnomon.invariant(pick)
    def never_the_last(items: Any, picked: Any) -> bool:
        return bool(picked != items[-1])

    answers = iter([0, 1, 7, 0])
    target = pick.hook
    target.chooser = lambda program, kind: lambda rows: next(answers)
    target.install(
        Assignment(
            epoch=1,
            phase="full",
            candidate=SimpleNamespace(inputs=()),  # type: ignore[arg-type]
            candidate_digest="c" * 64,
        )
    )
    for _ in range(4):
        pick(["a", "b"])
    gnomon.flush()
    found = collected(reader)
    assert found["gnomon.decisions"] == {("program.pick",): 4}
    assert found["gnomon.fallbacks"] == {
        ("fault", "program.pick"): 1,
        ("program.pick", "violation"): 1,
        ("features", "program.pick"): 0,
    }
    assert found["gnomon.invariant.violations"] == {("program.pick",): 1}
    assert found["gnomon.records.dropped"] == {
        ("no room", "program.pick"): 0,
        ("program.pick", "unreadable"): 0,
    }


def test_staleness_is_that_of_the_client_in_force(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuring.configure([Took()], flush_interval_s=60.0)
    assert "gnomon.policy.staleness" not in collected(reader)
    monkeypatch.setattr(RUNTIME, "delivery", SimpleNamespace(staleness_s=7.5, stop=lambda: None))
    assert collected(reader)["gnomon.policy.staleness"] == {(): 7.5}


def test_metrics_set_up_after_gnomon_are_found_at_the_first_call() -> None:
    program = (
        _PROGRAM
        + """
assert "opentelemetry.metrics" not in sys.modules
gnomon.configure(service="s", sink=Took(), flush_interval_s=0.01)
metered()
pick(["a"])
until(lambda: "gnomon.decisions" in values())
print(values()["gnomon.decisions"])
"""
    )
    assert run(program) == ["1"]


def test_a_forked_child_shows_its_own_counts() -> None:
    program = (
        _PROGRAM
        + """
metered()
gnomon.configure(service="s", sink=Took(), flush_interval_s=60.0)
for _ in range(3): pick(["a"])
gnomon.flush()
def show(who): print(who, values()["gnomon.decisions"], values()["gnomon.records.exported"], flush=True)
pid = os.fork()
if not pid:
    show("child before")
    for _ in range(2): pick(["a"])
    gnomon.flush()
    show("child after")
    os._exit(0)
os.waitpid(pid, 0)
show("parent")
"""
    )
    assert run(program) == ["child before 0 0", "child after 2 5", "parent 3 7"]


_PROGRAM = """
import os, sys, time, gnomon
class Took:
    def write(self, hook, records): ...
    def flush(self, timeout_s): ...
    def close(self, timeout_s): ...
@gnomon.hook("fork.pick", kind=gnomon.load_balancer, items="xs",
             item_features=lambda x: (0.0, 1.0, 1.0), outcome=lambda x: {"latency_ms": 1.0})
def pick(xs): return xs[0]
def metered():
    global reader
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
def values():
    data = reader.get_metrics_data()
    if data is None: return {}
    return {m.name: sum(p.value for p in m.data.data_points)
            for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
"""


def run(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
