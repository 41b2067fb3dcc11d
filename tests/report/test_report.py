"""Reports stand alone and cannot be injected into."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.shadow.report.page import Section, render, source_diff, write
from gnomon.shadow.report.plots import CanaryPoint, canary_over_time, latency_cdf, search_progress
from gnomon.shadow.report.shown import Table


class Reader(HTMLParser):
    """Collects tags, text and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [
            value or ""
            for name, value in attrs
            if name in ("src", "href") and value and value[0] != "#"
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


@pytest.fixture
def figures() -> list[str]:
    rng = np.random.default_rng(0)
    points = [CanaryPoint(float(i), 50.0 + i, 40.0, i % 3 != 0) for i in range(9)]
    return [
        latency_cdf({"recorded": rng.lognormal(3.0, 0.4, 200), "empty": np.array([])}),
        search_progress([3.0, float("nan"), 2.0], [3.0, 3.0, 2.0], 2.5),
        canary_over_time(points, "promoted"),
    ]


def test_a_page_fetches_nothing(figures: list[str]) -> None:
    page = render("t", "lead", [Section("plot", figure=figure) for figure in figures])
    reader = read(page)
    assert reader.tags.count("svg") == 3
    assert reader.fetched == []
    assert "script" not in reader.tags


@given(st.text(max_size=60))
def test_text_is_never_markup(hostile: str) -> None:
    hostile = f"<script>{hostile}</script><img src=x>"
    section = Section(hostile, (hostile,), Table((hostile,), ((hostile,),)), code=hostile)
    reader = read(render(hostile, hostile, [section]))
    assert not {"script", "img"} & set(reader.tags)
    assert reader.text.count("<img src=x>") == 8


def test_a_diff_names_both_sides() -> None:
    diff = source_diff("a\nb\n", "a\nc\n", "incumbent", "evolved")
    assert diff.splitlines() == [
        "--- incumbent",
        "+++ evolved",
        "@@ -1,2 +1,2 @@",
        " a",
        "-b",
        "+c",
    ]


def test_very_long_sources_are_not_compared() -> None:
    long = "\n".join(str(i % 97) for i in range(2000))
    assert source_diff(long, long[::-1], "a", "b").endswith(
        "(2000 and 2000 lines are not compared)"
    )
    assert source_diff(long, long, "a", "b") == ""


def test_a_written_page_is_whole(tmp_path: Path) -> None:
    write(tmp_path / "report.html", "title", "lead", [Section("s", ("text",))])
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text().rstrip().endswith("</html>")


def test_plots_do_not_depend_on_the_clock(figures: list[str]) -> None:
    again = latency_cdf({"recorded": np.random.default_rng(0).lognormal(3.0, 0.4, 200)})
    assert "dc:date" not in again
