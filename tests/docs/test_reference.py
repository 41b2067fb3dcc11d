"""The reference's tables name what the code has: all of it, and nothing else."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import gnomon
from gnomon import testing
from gnomon.sdk import config
from gnomon.sdk.hook import Hook
from gnomon.sdk.kind import Kind
from gnomon.sdk.telemetry import names
from gnomon.shadow.simulators import Simulator
from gnomon.v1 import audit_pb2, delivery_pb2, keys_pb2, policy_pb2, rollouts_pb2

from .pages import ROOT, table_names

REFERENCE = ROOT / "docs" / "reference"
HOOK = REFERENCE / "hook.md"
KIND = REFERENCE / "kind.md"
OPERATIONS = ROOT / "docs" / "operations.md"
SOURCES = "".join(
    path.read_text("utf-8")
    for room in ("sdk", "policies", "shadow", "commands", "recorder")
    for path in (ROOT / room).rglob("*.py")
)


@gnomon.hook(
    "docs.pick",
    kind=gnomon.load_balancer,
    items="items",
    item_features=lambda item: (0.0, item, 1.0),
)
def pick(items: list[float]) -> float:
    return items[0]


def test_arguments_of_a_hook() -> None:
    parameters = set(inspect.signature(gnomon.hook).parameters) - {"name"}
    assert set(table_names(HOOK, "Arguments")) - {".", "_", "-", "/"} == parameters


def test_arguments_of_configure_and_the_environment() -> None:
    names = table_names(HOOK, "Configuration")
    assert set(names) == set(inspect.signature(gnomon.configure).parameters)
    text = HOOK.read_text("utf-8")
    for variable in config.VARIABLES:
        assert f"`{variable}`" in text


def test_defaults_of_configure() -> None:
    text = HOOK.read_text("utf-8")
    for name in ("sample", "min_epoch", "flush_interval_s", "ring_size"):
        default = getattr(config.Settings(), name)
        row = re.search(rf"^\| `{name}` \|[^|]*\| ([^|]+) \|", text, re.MULTILINE)
        assert row and float(row[1]) == default, name


def test_counters() -> None:
    documented = table_names(HOOK, "Counters")
    assert sorted(documented) == sorted(Hook.of(pick).counters)


def test_limits() -> None:
    text = HOOK.read_text("utf-8")
    for field in fields(gnomon.Limits):
        row = re.search(rf"^\| `{field.name}` \| ([\d.,]+) \|", text, re.MULTILINE)
        assert row and float(row[1].replace(",", "")) == field.default, field.name


def test_counters_of_a_cache() -> None:
    cache: gnomon.PolicyCache[str, str] = gnomon.PolicyCache(1, name="docs.cache")
    try:
        named = table_names(ROOT / "docs" / "how-to" / "cache.md", "Counters")
        assert sorted(named) == sorted(cache.hook.counters)
    finally:
        cache.close()


def test_operations_say_what_to_do_about_every_metric_and_counter() -> None:
    watched = set(table_names(OPERATIONS, "What to monitor"))
    offered = set(table_names(REFERENCE / "events.md", "Metrics"))
    assert offered | set(Hook.of(pick).counters) <= watched


def test_fields_of_a_kind() -> None:
    named = table_names(KIND, "Kinds (v1 draft)")
    assert set(named) == {field.name for field in fields(Kind)} - {"description"}


def test_methods_of_a_simulator() -> None:
    text = KIND.read_text("utf-8")
    methods = [
        name for name, _ in inspect.getmembers(Simulator, inspect.isfunction) if name[0] != "_"
    ]
    assert methods
    for name in methods:
        names = ", ".join(list(inspect.signature(getattr(Simulator, name)).parameters)[1:])
        assert f"`{name}({names})`" in text


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ("load-balancer.md", gnomon.load_balancer),
        ("cache.md", gnomon.cache),
        ("expert-placement.md", gnomon.expert_placement),
    ],
)
def test_pages_of_the_kinds(page: str, kind: Kind) -> None:
    assert table_names(REFERENCE / page, "Features")[: len(kind.inputs)] == list(kind.input_names)
    assert {*kind.baselines} <= {*table_names(REFERENCE / page, "Published policies")}
    text = (REFERENCE / page).read_text("utf-8")
    for item in kind.inputs:
        assert f"| `{item.name}` | {item.unit} |" in text
    for invariant in kind.invariants:
        assert f"| `{invariant.name}` | {invariant.scope} | {invariant.severity} |" in text
    for rail in kind.guardrails:
        assert f"`{rail.name}`" in text
    for event in (event for event in kind.workload if event.source == "event"):
        assert f"`{event.name}`" in text and all(f"`{name}`" in text for name in event.fields)
    for baseline in kind.baselines.values():
        row = re.search(rf"^\| `{baseline.name}` \|.*\| ([^|]+) \|$", text, re.MULTILINE)
        assert row and row[1].startswith("yes" if baseline.source else "no"), baseline.name


def test_figures_of_the_cache_page_are_the_golden_ones(data: Path) -> None:
    golden = json.loads((data / "cache" / "expected_miss_ratios.json").read_text())["traces"]
    text = (REFERENCE / "cache.md").read_text("utf-8").split("## Figures")[1]
    names = ["FIFO", "LRU", "Clock", "Sieve", "ARC", "LFU", "2Q"]
    shown = [name.lower().replace("2q", "two_q") for name in names]
    assert re.findall(r"`(\w+)`", text.split("|--:")[0]) == shown
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (.+) \|$", text, re.MULTILINE)[:6]
    for (trace, capacity, figures), share in zip(rows, (0.001, 0.01, 0.1) * 2, strict=True):
        expected = [golden[trace]["results"][f"{name}@{share:g}"] for name in names]
        assert [float(figure) for figure in figures.split(" | ")] == [each[1] for each in expected]
        assert {each[0] for each in expected} == {int(capacity)}


def test_every_attribute_event_and_metric_is_in_the_reference() -> None:
    text = (REFERENCE / "events.md").read_text("utf-8")
    for name, value in vars(names).items():
        if (
            name.isupper()
            and isinstance(value, str)
            and value.startswith(("gnomon.", "feature_flag."))
        ):
            assert value in text, f"{name}: events.md does not name {value}"


@pytest.mark.parametrize("file", [audit_pb2, delivery_pb2, keys_pb2, policy_pb2, rollouts_pb2])
def test_every_message_of_the_wire_is_in_the_reference(file: Any) -> None:
    name = file.DESCRIPTOR.name.rpartition("/")[2]
    there = {*file.DESCRIPTOR.message_types_by_name, *file.DESCRIPTOR.enum_types_by_name}
    assert {*table_names(REFERENCE / "messages.md", name)} == there


def test_every_public_name_is_in_the_reference() -> None:
    text = (REFERENCE / "api.md").read_text("utf-8")
    listed = set(re.findall(r"^\.\. auto\w+:: (\w+)$", text, re.MULTILINE))
    named = set(re.findall(r"`gnomon\.(\w+)`", text))
    assert {*gnomon.__all__} - {"__version__"} <= listed | named
    assert listed <= {*gnomon.__all__}
    for name in ("traces", "replay", "evolve", "verify", "ship", "rollout", "follow", "doctor"):
        returned = inspect.signature(getattr(gnomon, name)).return_annotation
        assert f".{returned}\n" in text, f"gnomon.{name} returns {returned}, which is not shown"
    assert ".. automodule:: gnomon.testing" in text


@pytest.mark.parametrize(
    ("file", "service"),
    [(delivery_pb2, "Delivery"), (rollouts_pb2, "Rollouts"), (audit_pb2, "Audit")],
)
def test_methods_of_the_wire_services(file: Any, service: str) -> None:
    text = (REFERENCE / "proto.md").read_text("utf-8")
    row = re.search(rf"^\| `{service}` \|(.*)$", text, re.MULTILINE)
    assert row
    methods = [method.name for method in file.DESCRIPTOR.services_by_name[service].methods]
    assert re.findall(r"`(\w+)`", row[1]) == methods


@pytest.mark.parametrize(
    "heading", ["`gnomon ship` is refused", "HOLD", "A process refuses", "ABORTED"]
)
def test_causes_are_what_the_code_says(heading: str) -> None:
    """The words between the gaps of every quoted cause stand in some source."""
    causes = table_names(OPERATIONS, heading)
    assert len(causes) > 3
    plain = re.sub(r'"\s*\n\s*f?"', "", SOURCES)
    for cause in causes:
        for piece in cause.split("…"):
            assert piece.strip(" ,;") in plain, f"no source says {piece!r}"


def test_details_of_a_fallback() -> None:
    rows = table_names(HOOK, "Which policy answers")
    with testing.recording() as recorded:
        testing.force(pick, "def score(ewma_ms):\n    return 1.0 / ewma_ms\n")
        pick([-1.0])
        for _ in range(4):
            pick([0.0])
        gnomon.kill(pick, reason="a test")
        pick([0.0])
    gnomon.unkill(pick)
    seen = {decision.detail for decision in recorded.decisions}
    assert seen == {"features", "fault", "breaker", "killed"} == set(rows) - {"violation:NAME"}
