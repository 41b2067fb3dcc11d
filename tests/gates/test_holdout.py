"""The holdout's budget, and verdict files that only a ledger can vouch for."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk.errors import TrustError
from gnomon.shadow.gates.holdout import (
    ALPHA,
    LEAST_GRANT,
    MOST_OPENINGS,
    OPENED,
    Grant,
    Holdout,
    account,
    accounts,
    day,
    granted,
)
from gnomon.shadow.gates.holdout import open_holdout as opened
from gnomon.shadow.gates.verdict import GateResult, Verdict, finite, load_verdict
from gnomon.shadow.traces.trace import DecisionTrace


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db", clock=lambda: 1)


def window(hook: str, start: int, end: int, digest: str = "") -> Holdout:
    return Holdout(hook, digest or f"{hook}-{start}-{end}", start, end)


def open_holdout(ledger: Ledger, hook: str, question: str, actor: str) -> Grant:
    return opened(ledger, window(hook, 100, 200), question, actor)


def test_all_openings_together_stay_within_alpha() -> None:
    assert sum(granted(k).alpha for k in range(1, 100)) <= ALPHA
    assert granted(1).alpha == ALPHA / 2


@given(st.integers(1, 200))
def test_a_grant_is_usable_or_nothing(opening: int) -> None:
    grant = granted(opening)
    assert grant.spent == (grant.alpha == 0.0)
    assert grant.spent or grant.alpha >= LEAST_GRANT


def test_every_new_question_halves_what_is_left(ledger: Ledger) -> None:
    grants = [open_holdout(ledger, "h", f"q{i}", "me") for i in range(4)]
    assert [grant.alpha for grant in grants] == [ALPHA / 2**k for k in (1, 2, 3, 4)]
    assert open_holdout(ledger, "another", "q", "me").opening == 1


def test_the_same_question_costs_nothing_again(ledger: Ledger) -> None:
    first = open_holdout(ledger, "h", "q", "me")
    open_holdout(ledger, "h", "other", "me")
    assert open_holdout(ledger, "h", "q", "me") == first
    assert len(ledger.list(kind=OPENED)) == 2


def test_a_spent_holdout_stays_spent_and_is_not_counted_on(ledger: Ledger) -> None:
    while not open_holdout(ledger, "h", f"q{len(ledger.list(kind=OPENED))}", "me").spent:
        pass
    count = len(ledger.list(kind=OPENED))
    assert open_holdout(ledger, "h", "one more", "me").spent
    assert len(ledger.list(kind=OPENED)) == count == 5


def test_a_longer_trace_is_no_new_holdout(ledger: Ledger) -> None:
    ranges = [(100, 200), (101, 201), (200, 300), (50, 400), (150, 150)]
    openings = [opened(ledger, window("h", *one), f"q{one}", "me").opening for one in ranges]
    assert openings == [1, 2, 3, 4, 4]
    assert opened(ledger, window("h", 401, 500), "q", "me").opening == 1
    assert opened(ledger, window("other", 100, 200), "q", "me").opening == 1


def test_the_same_question_to_an_overlapping_holdout_is_counted(ledger: Ledger) -> None:
    opened(ledger, window("h", 100, 200), "q", "me")
    assert opened(ledger, window("h", 100, 201), "q", "me").opening == 2
    assert opened(ledger, window("h", 100, 200), "q", "me").opening == 1


def test_openings_without_a_time_count_by_their_digest(ledger: Ledger) -> None:
    ledger.append(OPENED, "me", "d", {"question": "q", "opening": 1, "alpha": 0.025})
    assert opened(ledger, window("h", 1, 2, "d"), "new", "me").opening == 2
    assert opened(ledger, window("h", 5, 6, "e"), "new", "me").opening == 1


_ranges = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(sorted)


@given(st.lists(_ranges, max_size=12))
def test_questions_that_share_a_moment_stay_within_alpha(ranges: list[list[int]]) -> None:
    with TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "l.db", clock=lambda: 1)
        asked = [window("h", *one) for one in ranges]
        grants = [opened(ledger, one, f"q{i}", "me") for i, one in enumerate(asked)]
        ledger.close()
    for moment in range(13):
        spent = [
            grant.alpha
            for one, grant in zip(asked, grants, strict=True)
            if one.start_ns <= moment <= one.end_ns
        ]
        assert sum(spent) <= ALPHA


def test_two_at_the_same_time_get_different_openings(tmp_path: Path) -> None:
    def ask(number: int) -> int:
        ledger = Ledger(tmp_path / "ledger.db")
        waiting.wait()
        opening = opened(ledger, window("h", 100, 200 + number), f"q{number}", "me").opening
        ledger.close()
        return opening

    Ledger(tmp_path / "ledger.db").close()
    waiting = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(ask, range(4))) == [1, 2, 3, 4]


def test_an_account_says_what_was_spent_and_what_is_left(ledger: Ledger) -> None:
    for number in range(1, MOST_OPENINGS + 1):
        open_holdout(ledger, "h", f"q{number}", "me")
        found = account(ledger, window("h", 150, 400))
        assert (found.openings, found.more) == (number, MOST_OPENINGS - number)
        assert found.spent == pytest.approx(ALPHA * (1.0 - 0.5**number))
        assert "can judge" in found.words() or number == MOST_OPENINGS
    assert "traffic after" in found.words()
    assert account(ledger, window("h", 201, 400)).openings == 0
    assert open_holdout(ledger, "h", "one more", "me").spent


def test_accounts_are_by_hook_and_time(ledger: Ledger) -> None:
    for hook, start, end in (("h", 300, 400), ("h", 100, 200), ("g", 1, 2), ("h", 150, 350)):
        opened(ledger, window(hook, start, end), f"{hook}{start}", "me")
    found = accounts(ledger)
    assert [(one.holdout.hook, one.holdout.start_ns) for one in found] == [
        ("g", 1), ("h", 100), ("h", 150), ("h", 300),
    ]  # fmt: skip
    assert [one.openings for one in found] == [1, 2, 3, 2]
    assert [one.holdout.hook for one in accounts(ledger, "g")] == ["g"]
    assert json.dumps([one.as_json() for one in found])


@given(st.integers(-(2**80), 2**80))
def test_any_time_can_be_shown(time_ns: int) -> None:
    assert day(time_ns).endswith((" UTC", " ns"))


@pytest.mark.parametrize("body", [{"start_ns": "x"}, {"start_ns": None}, {"end_ns": 1.5}, {"opening": 0}, {"opening": "1"}])  # fmt: skip
def test_an_opening_that_says_nothing_is_refused(ledger: Ledger, body: dict[str, Any]) -> None:
    whole = {"hook": "h", "start_ns": 100, "end_ns": 200, "opening": 1, "question": "q"}
    ledger.append(OPENED, "me", "h-100-200", whole | body)
    with pytest.raises(TrustError, match="opens a holdout without"):
        accounts(ledger)
    if "opening" in body:
        with pytest.raises(TrustError, match="without opening"):
            open_holdout(ledger, "h", "q", "me")


def test_openings_on_the_command_line(ledger: Ledger) -> None:
    from typer.testing import CliRunner

    from gnomon.cli import app

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["holdout", *words, "--ledger", str(ledger.path)])

    assert "no holdout was opened" in run().stdout
    for number in range(MOST_OPENINGS):
        open_holdout(ledger, "h", f"q{number}", "me")
        open_holdout(ledger, "g", "q", "me")
    shown = run()
    assert shown.exit_code == 3 and "none: capture newer traffic" in shown.stdout
    assert run("--hook", "g").exit_code == 0
    (said,) = json.loads(run("--hook", "g", "--json").stdout)
    assert (said["openings"], said["more"], said["of"]) == (1, 4, ALPHA)
    assert CliRunner().invoke(app, ["holdout", "--ledger", "nowhere.db"]).exit_code == 2


def test_a_holdout_is_named_by_its_wall_clock(trace: DecisionTrace) -> None:
    late = trace.window(30, 41)
    found = Holdout.of(late)
    assert (found.hook, found.digest) == (trace.hook, late.digest)
    assert found.start_ns == trace.start_ns + round(late.time[0] * 1e9)
    assert found.end_ns - found.start_ns == pytest.approx(late.span_s * 1e9, abs=2)


def test_a_tampered_ledger_opens_nothing(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "ledger.db"
    ledger = Ledger(path, clock=lambda: 1)
    open_holdout(ledger, "h", "q", "me")
    with sqlite3.connect(path) as raw:
        raw.execute("drop trigger entries_no_delete")
        raw.execute("drop trigger entries_no_update")
        raw.execute("update entries set subject = 'x'")
    with pytest.raises(TrustError, match="does not hold"):
        open_holdout(ledger, "h", "q2", "me")


def verdict(**changes: Any) -> Verdict:
    values: dict[str, Any] = {
        "decision": "refused",
        "reason": "language",
        "summary": "Refused at gate language: line 1.",
        "hook": "h",
        "kind": "load_balancer",
        "kind_version": 1,
        "source": "def score(x):\n    return x\n",
        "source_digest": "ab" * 32,
        "form": "score",
        "gates": (GateResult("language", "failed", "line 1", {"line": 1}, 0.5),),
        "fidelity": {},
        "trace": "cd" * 32,
        "splits": {"train": "1", "validation": "2", "holdout": "3"},
        "calibration": "",
        "predicted": {"incumbent": {"estimate": -0.1, "low": -0.2, "high": -0.05}},
        "layers": ("process", "seccomp"),
        "isolation": "strict",
        "seed": 0,
        "tool": "gnomon 0",
        "created_ns": 5,
    }
    return Verdict(**(values | changes))


def test_a_verdict_comes_back_as_it_was(ledger: Ledger, tmp_path: Path) -> None:
    said = verdict()
    said.save(tmp_path / "v.json")
    said.record(ledger, "me")
    assert load_verdict(tmp_path / "v.json", ledger) == said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"refused"', b'"accepted"'),
        (b'"h"', b'"g"'),
        (b"}\n", b"}"),
        (b'"seed":0', b'"seed": 0'),
    ],
)
def test_an_edited_verdict_is_refused(
    ledger: Ledger, tmp_path: Path, old: bytes, new: bytes
) -> None:
    said = verdict()
    path = tmp_path / "v.json"
    said.save(path)
    said.record(ledger, "me")
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(TrustError, match="knows no verdict"):
        load_verdict(path, ledger)


def test_a_verdict_of_another_ledger_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    verdict().save(tmp_path / "v.json")
    with pytest.raises(TrustError, match="another ledger"):
        load_verdict(tmp_path / "v.json", ledger)


def test_a_missing_verdict_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="cannot be read"):
        load_verdict(tmp_path / "v.json", ledger)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"format": 1}', b'{"format": 2}'])
def test_what_is_no_verdict_is_refused_even_when_recorded(
    ledger: Ledger, tmp_path: Path, content: bytes
) -> None:
    import hashlib

    (tmp_path / "v.json").write_bytes(content)
    ledger.append("verdict", "me", hashlib.sha256(content).hexdigest(), {})
    with pytest.raises(TrustError):
        load_verdict(tmp_path / "v.json", ledger)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_json)
def test_finite_json_can_always_be_written(value: Any) -> None:
    json.dumps(finite(value), allow_nan=False)


def test_equal_verdicts_have_equal_bytes() -> None:
    assert verdict().digest == verdict().digest != verdict(seed=1).digest
