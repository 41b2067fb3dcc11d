"""The report of a search stands alone, escapes what candidates wrote, and stays small."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.shadow.report import searches
from gnomon.shadow.report.search_plots import (
    MOST_POINTS,
    label,
    scores_over_steps,
    size_against_score,
    stretches,
    thinned,
)
from gnomon.shadow.report.searches import write_report
from gnomon.shadow.search.lines import Final, Scored
from gnomon.shadow.search.records import Outcome, Record
from gnomon.shadow.search.results.runs import Run, State

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(1)> --> $\\frac{$ \x1b[2J \ud800"


class Reader(HTMLParser):
    """Collects tags, attributes that act or fetch, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.acting: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.acting += [
            f"{name}={value}"
            for name, value in attrs
            if name.startswith("on") or (name in ("src", "href") and (value or "")[:1] != "#")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text("utf-8"))
    return reader


def record(step: int, score: float = math.nan, parent: str = "", **more: Any) -> Record:
    fine = math.isfinite(score)
    values = {
        "operator": "wrap",
        "source": f"def score(noise):\n    return {step}\n",
        "outcome": Outcome.OK if fine else Outcome.FAULT,
        "segments": tuple(score * (1.0 + 0.01 * i) for i in range(20)) if fine else (),
        "nodes": 5 + step % 7,
    } | more
    return Record(
        step=step, program=f"{step:016x}", key=f"k{step}", parents=(parent,) if parent else (),
        score=score, **values,
    )  # fmt: skip


def run(folder: Path, records: list[Record], **more: Any) -> Run:
    values: dict[str, Any] = {
        "state": State.FINISHED,
        "config": {"kind": "load_balancer", "seed": 1, "subject": {"hook": "router.pick"}},
        "hints": (),
        "final": None,
        "log_hash": "h" * 64,
    }
    return Run(folder=folder, records=tuple(records), **(values | more))


def family_of(count: int) -> list[Record]:
    """A seed and its descendants, each better than the one before."""
    first = record(0, 10.0, operator="seed:peak_ewma")
    rest = [record(i, 10.0 - i / count, f"{i - 1:016x}") for i in range(1, count)]
    return [first, *rest]


SEGMENTS = tuple(9.0 + 0.1 * i for i in range(20))
FINAL = Final(
    "evaluations",
    f"{4:016x}",
    (
        Scored("evolved", f"{4:016x}", 9.0, 9.0, SEGMENTS),
        Scored("peak_ewma", f"{0:016x}", 10.0, 10.0, tuple(1.1 * s for s in SEGMENTS)),
    ),
    Scored("incumbent", "incumbent", 12.0, 12.5),
)


def test_a_report_has_the_verdict_the_figures_and_the_changes(tmp_path: Path) -> None:
    path = write_report(run(tmp_path, family_of(5), final=FINAL, hints=((2, "try less"),)))
    page = read(path)
    assert path == tmp_path / "report.html"
    assert page.tags.count("svg") == 3
    assert page.acting == []
    assert "script" not in page.tags
    assert "the search added +10.0%" in page.text
    assert "Search of router.pick" in page.text
    assert "-    return 3" in page.text and "+    return 4" in page.text
    for heading in (
        "Lineage",
        "What paid",
        "Finalists",
        "Hints",
        "Stretch by stretch, on validation",
    ):
        assert heading in page.text
    assert "Who paid" not in page.text  # nobody but the keyless proposers took part


def test_a_run_that_goes_on_is_reported_as_far_as_it_is(tmp_path: Path) -> None:
    page = read(write_report(run(tmp_path, family_of(3), state=State.RUNNING)))
    assert "no verdict yet" in page.text
    assert "Stretch by stretch, on train, against seed:peak_ewma" in page.text
    nothing = read(write_report(run(tmp_path, [], state=State.RUNNING)))
    assert "No proposal has a score." in nothing.text
    failed = read(write_report(run(tmp_path, [record(0), record(1)])))
    assert "2 fault" in failed.text


def test_what_a_candidate_or_a_model_wrote_is_never_markup(tmp_path: Path) -> None:
    evil = {
        "operator": HOSTILE, "author": HOSTILE, "place": HOSTILE, "source": HOSTILE, "reason": HOSTILE,
        "feedback": HOSTILE, "prompt": "d", "cost": None,
    }  # fmt: skip
    records = [
        replace(record(0, 3.0, **evil), program=HOSTILE),
        record(1, 2.0, HOSTILE, **evil),
        record(2, **(evil | {"outcome": Outcome.INVALID})),
        *(record(i, **(evil | {"outcome": Outcome.UNANSWERED})) for i in range(3, 9)),
    ]
    scored = Scored(HOSTILE, HOSTILE, 3.0, 3.0, SEGMENTS)
    final = Final(HOSTILE, records[1].program, (scored, replace(scored, program="p")), None)
    config = {
        "kind": HOSTILE,
        "strategy": HOSTILE,
        "subject": {"hook": HOSTILE},
        "layers": [HOSTILE],
    }
    page = read(
        write_report(run(tmp_path, records, final=final, config=config, hints=((0, HOSTILE),)))
    )
    assert not {"script", "img"} & set(page.tags)
    assert page.acting == []
    assert "<script>alert(1)</script>" in page.text  # there to read, and only that
    assert "\x1b" not in page.text


@given(st.text(max_size=60))
def test_a_name_in_a_figure_is_short_plain_text(name: str) -> None:
    shown = label(name)
    assert 0 < len(shown.replace("\\$", "$")) <= 28
    assert shown.isascii() and shown.isprintable()
    assert shown.count("$") == shown.count("\\$")  # no formula
    assert not shown.startswith("_")  # which hides it from the legend


def test_no_name_breaks_a_figure() -> None:
    names = [HOSTILE, "$x$", "_hidden", "\t", "", "模型", "--><b>", "a" * 99]
    figure = scores_over_steps(
        {name: [(i, 1.0)] for i, name in enumerate(names[:6])},
        [(0, 1.0)],
        dict.fromkeys(names, 2.0),
        9,
    )
    assert figure.startswith("<svg")
    assert "<script" not in figure and "<b>" not in figure


def test_ten_thousand_programs_fit_into_two_megabytes(tmp_path: Path) -> None:
    rng = random.Random(1)
    names = [f"model/{i}" for i in range(12)]
    records = [
        record(
            i,
            10.0 + rng.expovariate(1.0) - i / 2000,
            f"{i - 1:016x}" if i else "",
            author=rng.choice(names),
            source="def score(noise):\n" + "    x = 1\n" * 200 + f"    return {i}\n",
        )
        for i in range(10_000)
    ]
    path = write_report(run(tmp_path, records))
    assert path.stat().st_size < 2_000_000
    text = read(path).text
    assert text.count("@@") == 2 * searches._MOST_STEPS


def test_thinning_keeps_the_order_and_the_best() -> None:
    rng = np.random.default_rng(0)
    points = [(i, float(s)) for i, s in enumerate(rng.normal(size=9999))]
    kept = thinned(points)
    assert len(kept) == MOST_POINTS
    assert kept[:, 1].min() == min(score for _, score in points)
    assert (np.diff(kept[:, 0]) >= 0).all()
    assert thinned(points[:10]).tolist() == [[float(i), s] for i, s in points[:10]]


@pytest.mark.parametrize("level", [0.0, 1e-300, 1e300, -5.0])
def test_figures_take_any_finite_score(level: float) -> None:
    points = [(0, level), (1, level)]
    assert scores_over_steps({"a": points}, points[:1], {}, 1).startswith("<svg")
    assert size_against_score(points, points[:1], points[0]).startswith("<svg")
    assert stretches({"a": [level and 0.1, -0.1]}).startswith("<svg")
    assert stretches({"a": [0.0, 0.0]}).startswith("<svg")


def test_the_old_report_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(run(tmp_path, family_of(3)))
    before = (tmp_path / "report.html").read_bytes()

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gnomon.shadow.report.page.render", full)
    with pytest.raises(OSError, match="No space"):
        write_report(run(tmp_path, family_of(4)))
    assert (tmp_path / "report.html").read_bytes() == before
