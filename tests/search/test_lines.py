"""Lines of a log: what is written comes back, and what nobody writes is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import TraceError
from gnomon.shadow.search.lines import (
    Final,
    Scored,
    decoded,
    decoded_final,
    decoded_hint,
    encoded,
    encoded_final,
)
from gnomon.shadow.search.log import RunLog, _chained, proposals, read_run
from gnomon.shadow.search.records import Outcome, Record

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
MAYBE = st.one_of(st.just(math.nan), FLOATS)
COUNTS = st.integers(0, 10**9)
TEXTS = st.text(max_size=20) | st.just("\ud800 lone")


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Records with everything that one may hold."""
    outcome = draw(st.sampled_from(list(Outcome)))
    return Record(
        step=draw(COUNTS),
        program=draw(TEXTS),
        key=draw(TEXTS),
        source=draw(TEXTS),
        operator=draw(TEXTS),
        parents=tuple(draw(st.lists(TEXTS, max_size=3))),
        nodes=draw(COUNTS),
        outcome=outcome,
        score=draw(FLOATS) if outcome is Outcome.OK else math.nan,
        segments=tuple(draw(st.lists(MAYBE, max_size=4))),
        reason=draw(TEXTS),
        author=draw(TEXTS),
        place=draw(TEXTS),
        cost=draw(st.none() | st.floats(0.0, 1e9)),
        tokens_in=draw(COUNTS),
        tokens_out=draw(COUNTS),
        prompt=draw(TEXTS),
        feedback=draw(TEXTS),
        metrics=tuple(draw(st.lists(st.tuples(TEXTS, MAYBE), max_size=3))),
        known=draw(st.integers(-1, 100)),
    )


def same(one: object, other: object) -> bool:
    """Whether two are equal, NaN being equal to itself."""
    return repr(one) == repr(other)


@given(records())
def test_a_record_comes_back_through_json(record: Record) -> None:
    line = json.loads(json.dumps(encoded(record), allow_nan=False))
    assert same(decoded(line | {"id": "x", "type": "proposal"}), record)


@given(st.lists(st.tuples(TEXTS, TEXTS, MAYBE, MAYBE, st.lists(MAYBE, max_size=3)), max_size=3))
def test_the_end_of_a_run_comes_back_through_json(entries: list[Any]) -> None:
    finalists = tuple(Scored(*entry[:4], tuple(entry[4])) for entry in entries)
    for incumbent in (None, "program", Scored("incumbent", "incumbent", 1.0, math.nan, (0.5,))):
        final = Final("evaluations", "w", finalists, incumbent)
        assert same(decoded_final(json.loads(json.dumps(encoded_final(final)))), final)


GOOD = encoded(
    Record(
        0, "p", "k", "def score(noise):\n    return noise\n", "wrap", ("a",), 3, Outcome.OK, 1.0,
        (1.0,), "", "a/model", "island 1", 0.5, 3, 4, "digest", "words", (("m", 1.0),), 2,
    )
)  # fmt: skip
WRONG: list[Any] = [True, -1, 1.5, "x", None, [None], [[]], {}, [1, "x"], [["m"]], 10**400]
KINDS = {
    "step": (0,), "nodes": (0,), "tokens_in": (0,), "tokens_out": (0,), "known": (0, -1),
}  # fmt: skip


def fits(name: str, value: Any) -> bool:
    """Whether a value of the list above is one that the field may have."""
    texts = {"program", "key", "source", "operator", "reason", "author", "place", "prompt"}
    if name in texts | {"feedback"}:
        return isinstance(value, str)
    if name in KINDS:
        return type(value) is int and (0 <= value < 10**300 or value in KINDS[name])
    if name == "cost":
        return value is None or value == 1.5
    if name == "score":
        return type(value) in (int, float) and abs(value) < 10**300
    return name == "segments" and value == [None]


@pytest.mark.parametrize("name", [field.name for field in fields(Record)])
def test_a_value_of_another_type_is_refused_by_its_name(name: str) -> None:
    for value in WRONG:
        line = GOOD | {name: value}
        if fits(name, value):
            decoded(line)
        else:
            with pytest.raises(ValueError, match=name):
                decoded(line)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_line_lacks_nothing_that_has_no_usual_value(name: str) -> None:
    line = {key: value for key, value in GOOD.items() if key != name}
    if Record.__dataclass_fields__[name].default is not None and name in {
        "author", "place", "cost", "tokens_in", "tokens_out", "prompt", "feedback", "metrics", "known",
    }:  # fmt: skip
        decoded(line)
    else:
        with pytest.raises(ValueError, match=f"no field '{name}'"):
            decoded(line)


def test_a_score_goes_with_its_outcome() -> None:
    with pytest.raises(ValueError, match="score=nan with outcome=ok"):
        decoded(GOOD | {"score": None})
    with pytest.raises(ValueError, match=r"score=1\.0 with outcome=fault"):
        decoded(GOOD | {"outcome": "fault"})


@pytest.mark.parametrize(
    "change",
    [
        {"stopped": 1},
        {"winner": []},
        {"finalists": {}},
        {"finalists": [["a", "b", 1.0, 2.0]]},
        {"finalists": [["a", 1, 1.0, 2.0, []]]},
        {"finalists": [["a", "b", "1", 2.0, []]]},
        {"finalists": [["a", "b", 1.0, 2.0, ["x"]]]},
        {"incumbent": [1.0]},
        {"incumbent": 1.0},
    ],
)
def test_an_end_that_nobody_writes_is_refused(change: dict[str, Any]) -> None:
    line = encoded_final(Final("time", "", ())) | change
    with pytest.raises(ValueError, match=next(iter(change))[:8]):
        decoded_final(line)


@pytest.mark.parametrize(
    "line", [{}, {"step": 1}, {"step": "1", "text": "a"}, {"step": 1, "text": 1}]
)
def test_a_hint_that_nobody_gives_is_refused(line: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="step|text"):
        decoded_hint(line)


def forged(folder: Path, *bodies: dict[str, Any]) -> Path:
    """A log whose chain is whole, whatever its lines say."""
    RunLog(folder, {"seed": 1}).close()
    path = folder / "log.jsonl"
    text, previous = path.read_text(), json.loads(path.read_text())["id"]
    for body in bodies:
        line, previous = _chained(body, previous)
        text += line
    path.write_text(text)
    return path


PROPOSAL = {"type": "proposal"} | GOOD


@pytest.mark.parametrize(
    ("bodies", "says"),
    [
        ([{"type": "proposal"}], "line 2 is none that a search writes .*no field"),
        ([PROPOSAL | {"score": "1"}], "line 2 .*score='1'"),
        ([PROPOSAL | {"extra": 1}], "unknown field 'extra'"),
        ([PROPOSAL, PROPOSAL], "line 3 .*step=0 in the place of 1"),
        ([PROPOSAL | {"step": 7}], "step=7 in the place of 0"),
        ([{"type": "strange"}], "type='strange'"),
        ([{"text": "no type"}], "type=None"),
        ([{"type": "hint", "step": 0}], "text=None"),
        ([{"type": "final"}], "finalists=None"),
        (
            [{"type": "final"} | encoded_final(Final("time", "", ())), PROPOSAL],
            "line 3 .*a line after the one that closes the log",
        ),
    ],
)
def test_a_forged_log_is_refused_line_by_line(
    tmp_path: Path, bodies: list[dict[str, Any]], says: str
) -> None:
    path = forged(tmp_path, *bodies)
    with pytest.raises(TraceError, match=says):
        read_run(path)
    with pytest.raises(TraceError, match=says):
        list(proposals(path))
    with pytest.raises(TraceError, match=says):
        RunLog(tmp_path, {"seed": 1}, resume=True)


def raw(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(path.read_text() + text)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (raw("[" * 100_000 + "\n"), "line 2 is damaged"),
        (raw('{"id":"x","score":NaN}\n'), "line 2 is damaged"),
        (raw('{"id":"x","score":' + "9" * 5000 + "}\n"), "line 2 is damaged"),
        (raw('"just text"\n'), "line 2 is damaged"),
        (raw('{"id":7}\n'), "line 2 is damaged"),
        (raw('{"id":"' + "x" * (1 << 24) + '"}\n'), "line 2 has 16777225 bytes"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00\n"), "line 1 is damaged"),
        (lambda path: path.write_text(""), "no header yet"),
        (lambda path: path.write_text('{"id":"'), "no header yet"),
    ],
)
def test_what_is_no_log_is_refused_in_a_line(
    tmp_path: Path, break_it: Callable[[Path], None], says: str
) -> None:
    RunLog(tmp_path, {"seed": 1}).close()
    break_it(tmp_path / "log.jsonl")
    with pytest.raises(TraceError, match=says) as refused:
        read_run(tmp_path / "log.jsonl")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
