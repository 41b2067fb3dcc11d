"""Hooks' counters reach the user's MeterProvider."""

from __future__ import annotations

from typing import Any

import opentelemetry.metrics
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from gnomon.sdk import configure as configuring
from gnomon.sdk.runtime import RUNTIME
from gnomon.sdk.telemetry import metrics
from gnomon.sdk.telemetry.accounting import Accounting

from .fakes import FakeHook


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
        hooks,
        provider,
        account=accounting.account,
        fresh_ns=lambda: 1_000_000_000,
        clock_ns=lambda: 3_500_000_000,
    )
    counters = {"decisions": 7, "dropped": 1, "faults": 2, "violations": 3, "missing_outcomes": 4}
    hooks.append(FakeHook("late.pick", counters=counters))
    found = collected(reader)
    provider.shutdown()
    assert found["gnomon.decisions"] == {("late.pick",): 7}
    assert found["gnomon.records.dropped"] == {("late.pick", "no room"): 1}
    assert found["gnomon.fallbacks"] == {("fault", "late.pick"): 2, ("late.pick", "violation"): 3}
    assert found["gnomon.invariant.violations"] == {("late.pick",): 3}
    assert found["gnomon.outcomes.missing"] == {("late.pick",): 4}
    assert found["gnomon.policy.staleness"] == {(): 2.5}
    assert found["gnomon.records.exported"] == {
        ("acknowledged",): 6,
        ("dropped",): 2,
        ("unknown",): 1,
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


def test_what_configure_registers_can_be_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The account reaches a collection through configure as it does directly."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(opentelemetry.metrics, "get_meter_provider", lambda: provider)
    monkeypatch.setattr(configuring, "_metered", [])
    try:
        configuring.configure(service="tests", otlp_endpoint="http://127.0.0.1:1")
        found = collected(reader)
    finally:
        RUNTIME.shutdown()
        provider.shutdown()
    fates = {("acknowledged",): 0, ("dropped",): 0, ("unknown",): 0}
    assert found["gnomon.records.exported"] == fates
