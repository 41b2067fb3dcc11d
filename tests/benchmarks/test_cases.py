"""Cases: what a row says, when a target counts as met, and the table made of it; nothing is measured here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Benchmark = Callable[[str], ModuleType]


@pytest.fixture
def cases(benchmark: Benchmark) -> ModuleType:
    return benchmark("_cases")


def case(cases: ModuleType, **given: Any) -> Any:
    usual = {
        "name": "spot, given zones",
        "unit": "$",
        "better": "lower",
        "published": cases.Published("somebody", 88.0),
        "valid": cases.Published("somebody else", 89.25),
        "bound": 73.91,
        "ours": 88.5,
        "policy": "found:lean",
        "violations": 0,
        "seconds": 1.25,
        "target": 89.25,
    }
    return cases.Case(**usual | given)


@pytest.mark.parametrize(
    ("given", "met"),
    [
        ({}, True),
        ({"ours": 89.26}, False),
        ({"ours": 89.26, "better": "higher"}, True),
        ({"violations": 1}, False),
        ({"target": None}, None),
        ({"target": None, "violations": 3}, None),
    ],
)
def test_a_target_is_met_without_a_violation_alone(
    cases: ModuleType, given: dict[str, Any], met: bool | None
) -> None:
    made = case(cases, **given)
    assert made.met is met
    assert made.as_json()["met"] is met


def test_a_case_is_a_row_with_more_to_say(benchmark: Benchmark, cases: ModuleType) -> None:
    row = benchmark("results").Row("a", 1.0, "ms", "lower", None, (1.0, 1.0)).as_json()
    made = json.loads(json.dumps(case(cases, published=None).as_json()))
    assert row.keys() <= made.keys()
    assert made["value"] == 88.5
    assert made["published"] is None
    assert made["valid"] == {"by": "somebody else", "value": 89.25}
    assert (made["bound"], made["violations"], made["seconds"]) == (73.91, 0, 1.25)


def test_cases_have_a_table_of_their_own(
    benchmark: Benchmark, cases: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = benchmark("results")
    monkeypatch.setattr(results, "OUT", tmp_path)
    found = [
        case(cases, note="two | zones"),
        case(cases, name="other", published=None, valid=None, bound=None, violations=2),
    ]
    page = results.page([results.write("cases", found, "How.")])
    first, second = page.splitlines()[-2:]
    assert first == (
        "| spot, given zones | 88 (somebody) | 89.25 (somebody else) | 73.91 | 88.5 $ (`found:lean`) | "
        "89.25 | yes | 0 | 1.25 | two \\| zones |"
    )
    assert second == "| other | – | – | – | 88.5 $ (`found:lean`) | 89.25 | **no** | 2 | 1.25 |  |"


def test_an_unknown_case_is_refused_with_those_there_are(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNOMON_BENCH_CASES", "perpetual_motion")
    with pytest.raises(SystemExit, match="no such case: perpetual_motion; there are: "):
        benchmark("cases").run()


def test_the_cases_named_are_measured_and_no_others(
    benchmark: Benchmark, cases: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = benchmark("cases")
    asked = []

    def part(name: str) -> Any:
        asked.append(name)
        found = ModuleType(name)
        found.case = lambda: [case(cases, name=name)]  # type: ignore[attr-defined]
        return found

    monkeypatch.setattr(module, "import_module", part)
    monkeypatch.setattr(module, "names", lambda: ["broadcast", "spot", "table_order"])
    monkeypatch.setenv("GNOMON_BENCH_CASES", "table_order,spot")
    assert [each.name for each in module.run()] == ["_case_table_order", "_case_spot"]
    monkeypatch.delenv("GNOMON_BENCH_CASES")
    module.run()
    assert asked[2:] == ["_case_broadcast", "_case_spot", "_case_table_order"]


def test_without_any_case_there_is_no_empty_table(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = benchmark("cases")
    monkeypatch.delenv("GNOMON_BENCH_CASES", raising=False)
    monkeypatch.setattr(module, "names", list)
    with pytest.raises(SystemExit, match="no kind has a case here"):
        module.run()
