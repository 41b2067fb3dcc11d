"""Results as people see them: whole, escaped, and the same on every surface."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, fields, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.shadow.fidelity import Fidelity, Row
from gnomon.shadow.gates.verdict import GateResult, Verdict
from gnomon.shadow.replay.compare import PolicyRow, ReplayTable
from gnomon.shadow.report.rollouts import Rollout, Shipped
from gnomon.shadow.report.shown import Code, Part, Shown, Table, as_html, as_text, printable
from gnomon.shadow.search.results.account import Bill
from gnomon.shadow.search.results.finalist import Finalist
from gnomon.shadow.search.results.result import EvolveResult
from gnomon.shadow.splits import Interval
from gnomon.v1 import policy_pb2, rollouts_pb2

HOSTILE = "<script>alert('x')</script>\x1b[31m&amp;\"'"
#: All that a result may put on a page; nothing that runs, loads or leads away.
PLAIN_TAGS = {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p", "pre"}


class Page(HTMLParser):
    """Reads a page: the tags that it opened, those still open, and the texts by tag."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts[self.open[-1]][-1] += data


def page(html: str) -> Page:
    """Return a page that is well-formed and holds nothing but tables and text."""
    read = Page(html)
    assert not read.open
    assert read.tags <= PLAIN_TAGS
    assert read.attributes <= {"style"}
    return read


texts = st.text(max_size=20)
tables = st.integers(1, 4).flatmap(
    lambda width: st.builds(
        Table,
        st.tuples(*[texts] * width),
        st.lists(st.tuples(*[texts] * width), max_size=4).map(tuple),
        texts,
    )
)
parts = st.lists(st.one_of(texts, st.builds(Code, texts), tables), max_size=4)


@given(parts)
def test_a_page_says_every_text_and_nothing_else(shown: list[Part]) -> None:
    read = page(as_html(shown))
    cells = [cell for part in shown if isinstance(part, Table) for row in part.rows for cell in row]
    assert read.texts.get("td", []) == list(map(printable, cells))
    assert read.texts.get("p", []) == [printable(p) for p in shown if isinstance(p, str)]
    assert read.texts.get("pre", []) == [printable(p.text) for p in shown if isinstance(p, Code)]


@given(parts)
def test_text_says_every_cell_and_steers_no_terminal(shown: list[Part]) -> None:
    said = as_text(shown)
    assert all(c.isprintable() or c in "\n\t" for c in said)
    for part in shown:
        if isinstance(part, Table):
            for row in part.rows:
                assert all(printable(cell).replace("\n", " ").strip() in said for cell in row)


def test_columns_are_aligned_and_numbers_stand_to_the_right() -> None:
    table = Table(("policy", "mean"), (("lru", "9.50"), ("round_robin", "12.25")), "Replays")
    assert as_text([table]).splitlines() == [
        "Replays",
        "policy        mean",
        "-----------  -----",
        "lru           9.50",
        "round_robin  12.25",
    ]


ROW = Row("mean", "whole", 10.0, 11.0, 0.1, -0.02, 0.22, 0.1, "ok")
NAN = math.nan


def replayed(statistics: tuple[str, ...], policy: str = "other") -> ReplayTable:
    rows = (
        PolicyRow("base", "built-in", 0.7512345, 2.0, 3.0, 0.0, (), None),
        PolicyRow(policy, "compiled", 0.5, 1.0, 2.0, 0.0, (), Interval(-0.3, -0.4, -0.2)),
        PolicyRow("broken", "compiled", NAN, NAN, NAN, NAN, (), None, fault="it faulted"),
    )
    fidelity = Fidelity((ROW,), "ok", "base", 20, "c" * 64)
    return ReplayTable(
        "cache.evict", "cache", "t" * 64, 10, (), "1", statistics, fidelity, {}, -math.inf, 20, rows
    )


def test_a_share_shows_its_mean_alone_with_enough_digits() -> None:
    said = str(replayed(("mean",)))
    assert "0.751235" in said and "0.500000" in said
    assert "p50" not in said and "p99" not in said
    full = str(replayed(("mean", "p50", "p99")))
    assert "p50" in full and "p99" in full and "0.7512 " in full
    assert "it faulted" in said and "-30.0% (-40% … -20%)" in said


def test_what_breaks_in_a_replay_is_said_to_be_refused() -> None:
    table = replayed(("mean",))
    assert "verify refuses" not in str(table)
    starving = replace(table.rows[1], broken=("no_starvation", "conservation"))
    said = str(replace(table, rows=(*table.rows, starving, starving)))
    assert "breaks no_starvation, conservation" in said
    assert said.endswith("refuses a policy that breaks conservation, no_starvation over a replay.")


def test_what_json_does_not_have_is_null() -> None:
    data = json.loads(json.dumps(replayed(("mean",)).as_json(), allow_nan=False))
    assert data["bound"] is None and data["rows"][2]["mean"] is None
    assert data["rows"][0]["mean"] == 0.7512345


def finalist(name: str, source: str = "def score(x):\n    return x\n") -> Finalist:
    return Finalist(name, "p", source, "made", 7, 10.0, 9.0)


def searched(**changes: object) -> EvolveResult:
    values = {
        "winner": finalist("evolved", f"# {HOSTILE}\ndef score(x):\n    return x\n"),
        "baseline": finalist(HOSTILE),
        "incumbent": None,
        "finalists": (finalist("evolved"),),
        "search_added": 0.031,
        "added_interval": (0.01, 0.05),
        "over_incumbent": math.nan,
        "over_interval": None,
        "operators": (),
        "authors": (),
        "bill": Bill(),
        "origin": "evolved",
        "stopped": "evaluations",
        "counts": {"ok": 5},
        "best_by_step": (),
        "lineage": (),
        "diagnosis": (),
        "log_hash": "a" * 64,
        "seconds": 1.0,
        "folder": Path("runs/x"),
    }
    return EvolveResult(**{**values, **changes})  # type: ignore[arg-type]


def test_a_search_says_where_its_winner_is() -> None:
    found = searched()
    assert "search added 3.1%; written to runs/x/best.py" in str(found)
    assert found.as_json()["folder"] == "runs/x"
    assert "folder" not in found.to_json()
    assert "no program" not in str(found) and found.improved
    assert "--resume (from Python, resume=True); see runs/x" in str(searched(stopped="interrupted"))


@pytest.mark.parametrize(
    ("winner", "incumbent", "improved"),
    [(9.0, 10.0, True), (10.0, 10.0, False), (None, 10.0, False), (9.0, None, True)],
)
def test_a_winner_must_beat_what_is_in_production(
    winner: float | None, incumbent: float | None, improved: bool
) -> None:
    won, base = (
        None if score is None else Finalist("evolved", "p", "s", "made", 1, score, score)
        for score in (winner, incumbent)
    )
    assert searched(winner=won, incumbent=base).improved is improved


CASE = {"invariant": "eligible", "inputs": ["inflight"], "items": [[1.0], [2.5]], "action": 1}


def verdict(**changes: object) -> Verdict:
    values = {
        "decision": "refused",
        "reason": "invariants",
        "summary": f"It breaks {HOSTILE}",
        "hook": "router.pick",
        "kind": "load_balancer",
        "kind_version": 1,
        "source": HOSTILE,
        "source_digest": "d" * 64,
        "form": "score",
        "gates": (
            GateResult("language", "passed", "fine", {}, 0.1),
            GateResult("invariants", "failed", HOSTILE, {"counterexample": CASE}, 0.2),
        ),
        "fidelity": {},
        "trace": "t" * 64,
        "splits": {},
        "calibration": "c" * 64,
        "predicted": {"incumbent": {"estimate": -0.08, "low": -0.1, "high": "nan"}},
        "layers": (),
        "isolation": "strict",
        "seed": 0,
        "tool": "test",
        "created_ns": 1,
    }
    return Verdict(**{**values, **changes})  # type: ignore[arg-type]


def test_a_verdict_shows_the_counterexample_and_the_effect(tmp_path: Path) -> None:
    said = str(verdict())
    assert "counterexample: eligible" in said and "1 picked" in said
    assert "-8.0%" in said and "the candidate was not run" in said


def test_where_a_verdict_lies_is_no_part_of_it(tmp_path: Path) -> None:
    plain = verdict()
    saved = plain.save(tmp_path / "v.json")
    assert (saved.digest, saved) == (plain.digest, plain)
    assert (tmp_path / "v.json").read_bytes() == plain.to_bytes()
    assert saved.as_json()["path"] == str(tmp_path / "v.json")
    assert plain.as_json()["path"] is None
    assert str(tmp_path / "v.json") in str(saved)


def rolled(**changes: object) -> Rollout:
    step = rollouts_pb2.Transition(to="SHADOW", cause=HOSTILE, actor="me", time_unix_ns=5)
    setattr(step, "from", rollouts_pb2.DRAFT)
    effect = policy_pb2.Interval(estimate=-0.1, low=-math.inf, high=math.inf)
    rail = rollouts_pb2.GuardrailStatus(name="failures", log_e_fine=25.0)
    evidence = rollouts_pb2.Evidence(pairs=3, effect=effect, guardrails=[rail])
    evidence.points.add(pair=1, stable=2.0, candidate=1.0, used="excluded")
    message = rollouts_pb2.Rollout(
        id="r-1", hook=HOSTILE, state="SHADOW", candidate="c" * 64, stable="incumbent"
    )
    message.evidence.CopyFrom(evidence)
    message.transitions.append(step)
    return Rollout.of(message)


def test_a_rollout_is_its_message_without_the_wire() -> None:
    found = rolled()
    data = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert (data["state"], data["id"]) == ("SHADOW", "r-1")
    assert data["evidence"]["effect"] == {"estimate": -0.1, "low": None, "high": None}
    assert data["evidence"]["points"] == [
        {"pair": 1, "stable": 2.0, "candidate": 1.0, "left_out": "excluded"}
    ]
    (step,) = data["transitions"]
    assert (step["from"], step["to"], step["time_ns"]) == ("DRAFT", "SHADOW", 5)
    assert "fine e^25" in str(found) and "[open, open]" in str(found)


def test_what_was_shipped_says_where_to() -> None:
    made = Shipped(rolled(), "127.0.0.1:7400", "v" * 64, (0.5, 1.0), Path("x.bundle"))
    assert made.id == made.as_json()["id"] == "r-1"
    assert made.as_json()["bundle"] == "x.bundle" and made.as_json()["weights"] == [0.5, 1.0]
    assert "0.5, 1" in str(made) and "127.0.0.1:7400" in str(made)


@pytest.mark.parametrize(
    "shown",
    [
        replayed(("mean",), HOSTILE),
        searched(),
        verdict(),
        rolled(),
        Shipped(rolled(), HOSTILE, "v" * 64, (1.0,)),
    ],
    ids=lambda shown: type(shown).__name__,
)
def test_hostile_names_and_sources_are_text(shown: Shown) -> None:
    read = page(shown._repr_html_())
    everything = " ".join(text for found in read.texts.values() for text in found)
    assert "<script>alert('x')</script>" in everything
    assert "\x1b" not in everything + str(shown) + repr(shown)
    assert repr(shown) == str(shown)
    name = fields(cast(Any, shown))[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(shown, name, "other")
