"""Rows, files and the page made of them; nothing is measured here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..conftest import ROOT


@pytest.fixture
def results(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    module = benchmark("results")
    monkeypatch.setattr(module, "OUT", tmp_path)
    return module


def row(results: ModuleType, **given: Any) -> Any:
    usual = {"name": "off", "value": 50.0, "unit": "ns", "better": "lower", "target": 60.0}
    return results.Row(**{**usual, "spread": (40.0, 70.0), **given})


@pytest.mark.parametrize(
    ("value", "better", "target", "scale", "met"),
    [
        (60.0, "lower", 60.0, 1.0, True),
        (61.0, "lower", 60.0, 1.0, False),
        (61.0, "lower", 60.0, 1.5, True),
        (50.0, "lower", 60.0, 0.5, False),
        (60.0, "higher", 60.0, 1.0, True),
        (59.0, "higher", 60.0, 1.0, False),
        (59.0, "lower", None, 1.0, None),
    ],
)
def test_a_target_is_met_at_the_speed_of_the_machine(
    results: ModuleType, value: float, better: str, target: float | None, scale: float, met: bool
) -> None:
    made = row(results, value=value, better=better, target=target, scale=scale)
    assert made.as_json()["met"] is met


def test_the_ratio_is_to_the_peer_where_there_is_one_and_it_took_anything(
    results: ModuleType,
) -> None:
    def ratio(peer: Any) -> object:
        return row(results, peer=peer).as_json()["ratio_to_peer"]

    assert ratio(results.Peer("wrapt", "2.5.2", 500.0)) == 0.1
    assert ratio(results.Peer("wrapt", "2.5.2", 0.0)) is None
    assert ratio(None) is None


def test_a_file_says_how_it_was_made(results: ModuleType) -> None:
    data = json.loads(results.write("hotpath", [row(results)], "By turns.").read_text())
    assert data["command"] == "make bench ONLY=hotpath"
    assert data["about"] == "By turns."
    assert {"machine", "python", "date", "rows"} < set(data)
    fields = {"name", "value", "unit", "better", "target", "met", "spread", "peer", "note"}
    assert set(data["rows"][0]) == {*fields, "ratio_to_peer"}


def test_sections_without_a_file_here_are_kept_as_they_are(results: ModuleType) -> None:
    elsewhere = results.page([results.write("recorder", [row(results, name="encode")])])
    (results.OUT / "recorder.json").unlink()
    own = results.write("hotpath", [row(results, value=99.0)])
    page = results.page([own], elsewhere)
    assert page.index("## hotpath") < page.index("## recorder")
    assert results.sections(page)["recorder"] == results.sections(elsewhere)["recorder"]
    assert "**no**" in results.sections(page)["hotpath"]


def test_a_section_is_replaced_by_its_file(results: ModuleType) -> None:
    before = results.page([results.write("hotpath", [row(results, name="old row")])])
    page = results.page([results.write("hotpath", [row(results, name="new row")])], before)
    assert "new row" in page
    assert "old row" not in page


def test_cells_are_numbers_as_people_write_them_and_stay_in_their_cells(
    results: ModuleType,
) -> None:
    peer = results.Peer("span", "1.45.2", 20938.24)
    made = row(results, value=12345.67, spread=(0.012345, 1234.5), peer=peer, note="a | b\nc")
    line = results.page([results.write("hotpath", [made])]).splitlines()[-1]
    assert line == (
        "| off | 12346 ns | 0.01235 to 1234 | 60 | **no** | span 1.45.2: 20938 | 0.59 | a \\| b c |"
    )


def test_the_page_in_the_repository_loses_nothing(results: ModuleType) -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    assert {"demo", "hotpath", "policycache", "recorder"} <= set(results.sections(text))
    assert results.sections(results.page([], text)) == results.sections(text)


NAMES = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
NOTES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]) | st.just("\n"))


@given(st.dictionaries(NAMES, NOTES, max_size=4), st.dictionaries(NAMES, NOTES, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_pages_merge(
    results: ModuleType, elsewhere: dict[str, str], here: dict[str, str]
) -> None:
    """Whatever notes and docstrings say, every section is there once, and again after a second time."""

    def write(texts: dict[str, str]) -> list[Path]:
        return [results.write(n, [row(results, note=t)], t) for n, t in texts.items()]

    before = results.page(write(elsewhere))
    paths = write(here)
    page = results.page(paths, before)
    found = results.sections(page)
    assert list(found) == sorted({*elsewhere, *here})
    assert {n: found[n] for n in set(elsewhere) - set(here)} == {
        n: results.sections(before)[n] for n in set(elsewhere) - set(here)
    }
    assert results.page(paths, page) == page
    assert all(section.count("\n| off |") == 1 for section in found.values())
