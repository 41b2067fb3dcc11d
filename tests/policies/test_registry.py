"""Kinds by name."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from gnomon.policies import registry
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.kind import Feature, Kind, Metric

LIFT = Kind(
    "lift", 1, "Picks a lift.", (Feature("floor", "1", "Where it is.", 0, 9),), Metric("s", "s", 60)
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


def test_a_built_in_kind_is_known() -> None:
    assert registry.kind("load_balancer") is load_balancer


def test_an_unknown_kind_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigurationError, match=r"'lift'.*load_balancer"):
        registry.kind("lift")


def test_a_registered_kind_is_found_and_listed() -> None:
    assert registry.register(LIFT) is LIFT
    assert registry.kind("lift") is LIFT
    assert registry.kinds() == tuple(sorted({*registry._BUILT_IN, "lift"}))
    assert registry.register(LIFT) is LIFT  # twice is no harm


def test_a_taken_name_is_refused() -> None:
    other = Kind("load_balancer", 1, "Another.", LIFT.features, LIFT.objective)
    with pytest.raises(ConfigurationError, match="exists already"):
        registry.register(other)


def plugged_in(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    points = EntryPoints([EntryPoint("lift", value, registry.ENTRY_POINTS)])
    monkeypatch.setattr(registry, "entry_points", lambda **by: points.select(**by))


def test_a_plug_in_is_loaded_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "LIFT", LIFT, raising=False)
    plugged_in(monkeypatch, "gnomon.policies.registry:LIFT")
    assert registry.kinds() == tuple(sorted({*registry._BUILT_IN, "lift"}))
    assert registry.kind("lift") is LIFT


def test_a_plug_in_that_gives_no_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged_in(monkeypatch, "gnomon.policies.registry:ENTRY_POINTS")
    with pytest.raises(ConfigurationError, match="entry point 'lift'"):
        registry.kind("lift")


def test_a_module_that_leaves_is_a_failure_to_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lift_that_exits.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(registry.MODULES, "lift_that_exits")
    with pytest.raises(ConfigurationError, match="cannot import 'lift_that_exits'.*SystemExit"):
        registry.load_modules()
