"""What a candidate got wrong is made small, kept as a file, and asked of every candidate after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.invariant import Invariant
from gnomon.shadow.gates import behaviour, invariants, program
from gnomon.shadow.gates.again import replayed
from gnomon.shadow.gates.case import Case, VerifyOptions
from gnomon.shadow.gates.regressions import FORMAT, Regression, Regressions, Stored, usable
from gnomon.shadow.gates.replay import sampled
from gnomon.shadow.gates.shrink import keepable
from gnomon.shadow.gates.verify import _timed, verify
from gnomon.shadow.traces.trace import DecisionTrace

from ..programs import jobs
from .conftest import INPUTS, PEAK, target

Make = Callable[..., Case]
OPTIONS = VerifyOptions(examples=40, clock=lambda: 5)
SPARE = Invariant(
    "spare",
    lambda items, picked: picked.inflight <= min(item.inflight for item in items) + 3,
    description="The pick has at most 3 more outstanding requests than the least loaded item.",
)
LEAST = "def score(inflight):\n    return inflight\n"
GREEDY = "def score(inflight):\n    return -inflight\n"
#: Keeps SPARE wherever items are generated within range, and breaks it where the recorded noise is high.
CASE = Regression(
    hook="router.pick",
    kind="load_balancer",
    kind_version=load_balancer.version,
    form="score",
    invariant="spare",
    inputs=INPUTS,
    question=[[4.0, 0.0, 1.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0, 0.5]],
    answer=0,
    detail="It picked the fuller one.",
    source=GREEDY,
    gate="invariants",
    created_ns=5,
)


@pytest.fixture
def kept(tmp_path: Path) -> Regressions:
    return Regressions(tmp_path / "regressions")


def test_a_case_comes_back_as_it_was_and_is_kept_once(kept: Regressions) -> None:
    path = kept.add(CASE)
    assert kept.add(replace(CASE, source=LEAST, gate="holdout", created_ns=9, answer=1)) == path
    assert path.name == f"{CASE.digest}.json"
    assert [each.case for each in kept.of("router.pick")] == [CASE]
    assert json.loads(path.read_bytes())["format"] == FORMAT
    assert kept.of("another") == ()


def test_many_that_find_the_same_case_leave_one_whole_file(kept: Regressions) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(kept.add, [replace(CASE, created_ns=n) for n in range(40)]))
    (stored,) = kept.all()
    assert paths == {stored.path} and stored.problem == ""
    assert [*stored.path.parent.iterdir()] == [stored.path]


@pytest.mark.parametrize("change", [{"hook": "h"}, {"kind_version": 99}, {"invariant": "x"}, {"question": []}])  # fmt: skip
def test_what_asks_something_else_is_another_case(change: dict[str, Any]) -> None:
    assert replace(CASE, **change).digest != CASE.digest


@pytest.mark.parametrize(
    "hook", ["..", ".", "../../etc/x", "a/b", "h" * 500, "ü", ".hidden", "a\nb"]
)
def test_no_name_of_a_hook_leads_out_of_the_folder(kept: Regressions, hook: str) -> None:
    path = kept.add(replace(CASE, hook=hook))
    assert path.resolve().parent.parent == kept.folder.resolve()
    assert [each.problem for each in kept.of(hook)] == [""]


def test_removing_names_exactly_one_case(kept: Regressions) -> None:
    path = kept.add(CASE)
    for wrong in ("", CASE.digest[:7], "0" * 64):
        with pytest.raises(ConfigurationError, match="names 0"):
            kept.remove(wrong)
    assert kept.remove(CASE.digest[:8]) == path
    assert not path.exists() and kept.all() == ()


def test_what_no_longer_applies_is_said_and_not_asked(kept: Regressions) -> None:
    wanted = {
        "": CASE,
        "no invariant 'gone' blocks": replace(CASE, invariant="gone"),
        "for load_balancer v99": replace(CASE, kind_version=99),
        "for cache v": replace(CASE, kind="cache"),
        "no question": replace(CASE, question=[[1.0]]),
        "no pick would keep": replace(CASE, question=[[9.0, 9.0, 9.0, 9.0, 0.9]], invariant="calm"),
        "no question that": replace(CASE, inputs=("a", "b", "c", "d", "e")),
        "no question that the": replace(CASE, question=[[9.0] * 5] * 100_000, invariant="calm"),
        "no question that the k": replace(CASE, question=[[-5.0, 1.0, 1.0, 1.0, 0.5]] * 2),
        "no question that the ki": replace(CASE, question=[[0.5, 1.0, 1.0, 1.0, 0.5]] * 2),
    }
    stored = [Stored(kept.add(case), case) for case in wanted.values()]
    calm = Invariant("calm", lambda items, picked: picked.inflight < 2)
    good, stale = usable(stored, load_balancer, (*load_balancer.invariants, SPARE, calm))
    assert [each.case for each in good] == [CASE]
    for says, each in zip([*wanted][1:], stale, strict=True):
        assert each.problem.startswith(says), each.problem


_TEXT = CASE.as_json()
_ODD = st.sampled_from(
    [None, True, -1, 2**80, 0.5, "", "x", "\u0000", [], [[]], [[1e400]], [["a"]], [[True] * 5], {}, {"a": 1},
     [[10**400] * 5]]
)  # fmt: skip


@given(st.sampled_from([*_TEXT]), _ODD)
@settings(max_examples=120, deadline=None)
def test_an_edited_file_is_never_more_than_a_problem(name: str, odd: Any) -> None:
    with TemporaryDirectory() as folder:
        kept = Regressions(folder)
        path = kept.add(CASE)
        path.write_text(json.dumps(_TEXT | {name: odd}))
        (found,) = kept.of(CASE.hook)
        good, stale = usable([found], load_balancer, (*load_balancer.invariants, SPARE))
        assert len(good) + len(stale) == 1
        if good:  # then it asks what it asked
            assert good[0].case is not None and good[0].case.digest == CASE.digest


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff", b"[" * 9999, b'{"a":1,"a":1}', b"null"]
)
def test_a_damaged_file_is_a_problem(kept: Regressions, data: bytes) -> None:
    kept.add(CASE).write_bytes(data)
    (found,) = kept.of(CASE.hook)
    assert found.case is None and "no regression case" in found.problem


def test_a_pipe_among_the_files_is_a_problem(kept: Regressions) -> None:
    import os

    path = kept.add(CASE)
    path.unlink()
    os.mkfifo(path)
    assert "no regular file" in kept.of(CASE.hook)[0].problem


# --- in the gates ------------------------------------------------------------------------------------


def test_a_violation_in_a_replay_is_shrunk_and_kept(make: Make, kept: Regressions) -> None:
    case = make(GREEDY, target(SPARE), None, OPTIONS)
    case.regressions = kept
    result = _timed("sampled replay", sampled, case)
    assert result.answer == "failed"
    told = json.loads(json.dumps(result.evidence["counterexample"]))
    assert len(told["items"]) == 2
    assert sorted(row[0] for row in told["items"]) == [0.0, 4.0]
    assert all(row[1] == 0.0 for row in told["items"])
    (found,) = kept.of("router.pick")
    assert found.case is not None and result.evidence["regression"]["digest"] == found.case.digest
    assert (found.case.gate, found.case.created_ns) == ("sampled replay", 5)
    # it happens again from the file alone, and a better candidate keeps the invariant there
    (again,) = replayed([found], load_balancer, (SPARE,), "strict")
    assert again.answer == "broken" and again.detail.startswith("spare: ")
    (again,) = replayed([found], load_balancer, (SPARE,), "strict", LEAST)
    assert again.answer == "kept"
    (again,) = replayed([found], load_balancer, (SPARE,), "strict", "nonsense")
    assert again.answer == "stopped"
    (again,) = replayed([found], load_balancer, (), "strict", LEAST)
    assert again.answer == "not asked"


def test_a_known_case_refuses_before_anything_is_generated(make: Make, kept: Regressions) -> None:
    # breaks the invariant on the stored case only, which no generated table will ever hold
    narrow = (
        "def score(inflight, ewma_ms):\n"
        "    if ewma_ms == 123.456:\n        return -inflight\n    return inflight\n"
    )
    rows = [[4.0, 123.456, 1.0, 1.0, 0.5], [0.0, 123.456, 1.0, 1.0, 0.5]]
    wanted = target(SPARE)
    assert invariants.invariants(make(narrow, wanted, None, OPTIONS)).passed
    kept.add(replace(CASE, question=rows))
    case = make(narrow, wanted, None, OPTIONS)
    case.regressions = kept
    result = _timed("invariants", invariants.invariants, case)
    assert result.answer == "failed" and result.evidence["known"] is True
    assert result.summary.startswith("A known case again: spare broken")
    assert result.evidence["ran"]["asked"] == 1
    better = make(LEAST, wanted, None, OPTIONS)
    better.regressions = kept
    passed = invariants.invariants(better)
    assert passed.passed and "and 1 known case" in passed.summary
    assert passed.evidence["regressions"] == {"asked": 1, "stale": []}


def test_stale_cases_are_said_even_where_nothing_blocks(make: Make, kept: Regressions) -> None:
    kept.add(CASE)
    case = make(PEAK, None, None, OPTIONS)
    case.regressions = kept
    result = invariants.invariants(case)
    assert result.answer == "skipped" and "1 stored cases cannot be asked" in result.summary
    assert result.evidence["regressions"]["stale"][0]["case"] == CASE.digest


def test_a_whole_verification_keeps_its_case_and_the_next_one_is_asked_it(
    trace: DecisionTrace, ledger: Ledger, kept: Regressions
) -> None:
    wanted = target(SPARE)
    first = verify(trace, GREEDY, wanted, ledger=ledger, options=OPTIONS, regressions=kept)
    assert (first.reason, first.gates[-1].evidence["known"]) == ("invariants", False)
    second = verify(trace, GREEDY, wanted, ledger=ledger, options=OPTIONS, regressions=kept)
    assert second.gates[-1].evidence["known"] is True
    assert len(kept.all()) == 1


def test_without_a_folder_nothing_is_kept(make: Make) -> None:
    result = _timed("sampled replay", sampled, make(GREEDY, target(SPARE)))
    assert "counterexample" in result.evidence and "regression" not in result.evidence


def test_a_folder_that_cannot_be_written_is_said(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    case = make(GREEDY, target(SPARE), None, OPTIONS)
    case.regressions = Regressions(tmp_path / "file")
    result = _timed("invariants", invariants.invariants, case)
    assert result.answer == "failed" and "not kept" in result.evidence["regression"]["problem"]


def test_a_row_on_which_tiers_disagree_is_asked_again(
    make: Make, kept: Regressions, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = [3.0, 1.5, 1.0, 7.0, 0.25]
    kept.add(replace(CASE, invariant="", question=[row], answer=None, gate="determinism"))
    seen: list[Any] = []
    honest = behaviour._compiled

    def watched(case: Case, rows: Any) -> Any:
        seen.append(rows)
        return honest(case, rows)

    monkeypatch.setattr(behaviour, "_compiled", watched)
    case = make(PEAK)
    case.regressions = kept
    assert _timed("determinism", behaviour.determinism, case).evidence["ran"]["regressions"] == 1
    assert seen[0][-1].tolist() == row


def test_shrinking_never_ends_where_nothing_could_keep_the_invariant(make: Make) -> None:
    # the simplest table of all, only zeros, would break it whoever picks
    slow = Invariant("slow", lambda items, picked: picked.ewma_ms >= 40.0, description="Slow.")
    fastest = "def score(ewma_ms):\n    return ewma_ms\n"
    rows = sampled(make(fastest, target(slow))).evidence["counterexample"]["items"]
    assert keepable(load_balancer, slow, rows)
    assert len(rows) == 2 and min(row[1] for row in rows) == 0.0


# --- program form -------------------------------------------------------------------------------------


class _Asked:
    """What the gate needs of a case, for a kind without a simulator."""

    def __init__(self, source: str, kind: Any, kept: Regressions | None) -> None:
        from gnomon.sdk.isolation.program import program_zygote
        from gnomon.shadow.gates.case import Target

        self.zygote = program_zygote(kind)
        wanted = Target("jobs.assign", kind, target().incumbent, kind.invariants)
        self.case = Case(
            wanted, source, None, {}, None, self.zygote, None, {}, VerifyOptions(examples=30), kept  # type: ignore[arg-type]
        )  # fmt: skip
        self.case.__dict__["_observed"] = []
        self.case.splits = {"train": _Nothing()}  # type: ignore[dict-item]


class _Nothing:
    digest = "0" * 64

    def __len__(self) -> int:
        return 0


#: Right but for one job too many on the last machine, when there are several machines and some work.
SKEWED = """
def decide(work, machines, machine):
    for k in range(len(work)):
        machine[k] = k % machines
    if machines > 2 and work[0] > 2.0:
        machine[0] = machines
"""


def test_a_question_is_made_small_and_asked_of_the_next(kept: Regressions) -> None:
    asked = _Asked(SKEWED, jobs.jobs, kept)
    with asked.zygote:
        asked.case.__dict__["evaluator"] = None
        result = program.invariants(asked.case)
        assert result.answer == "failed"
        told = result.evidence["counterexample"]
        assert told["question"]["machines"] == 3
        assert len(told["question"]["work"]) == 1 and told["question"]["work"][0] > 2.0
        assert told["answer"] == {"machine": [3]}
        from gnomon.shadow.gates.keeping import keep

        assert keep(asked.case, replace(result, name="invariants"))["regression"]["problem"] == ""
    (found,) = kept.of("jobs.assign")
    (again,) = replayed([found], jobs.jobs, jobs.jobs.invariants, "strict")
    assert again.answer == "broken"
    (again,) = replayed([found], jobs.jobs, jobs.jobs.invariants, "strict", jobs.LONGEST)
    assert again.answer == "kept"
    other = _Asked(SKEWED, jobs.jobs, kept)
    with other.zygote:
        again_found = program.invariants(other.case)
    assert again_found.evidence["known"] is True
    assert again_found.evidence["counterexample"]["question"] == told["question"]


def test_a_question_that_no_published_program_can_keep_is_left_as_it_was() -> None:
    never = replace(jobs.jobs, invariants=(Invariant("never", lambda *_: False),))
    asked = _Asked(jobs.LONGEST, never, None)
    with asked.zygote:
        result = program.invariants(asked.case)
    assert result.answer == "failed"


# --- commands -----------------------------------------------------------------------------------------


def _run(*words: str) -> Any:
    from typer.testing import CliRunner

    from gnomon.cli import app

    return CliRunner().invoke(app, ["regressions", *words])


def test_cases_on_the_command_line(kept: Regressions, tmp_path: Path) -> None:
    from gnomon.policies import registry

    assert "no cases" in _run("list", "--dir", str(kept.folder)).stdout
    path = kept.add(CASE)
    where = ["--dir", str(kept.folder)]
    listed = _run("list", "--json", *where)
    assert json.loads(listed.stdout)[0]["case"]["invariant"] == "spare"
    assert "router.pick" in _run("list", "--hook", "router.pick", *where).stdout
    # by its name alone a hook has its kind's invariants, and this case is about another
    named = _run("replay", "--hook", "router.pick", *where)
    assert named.exit_code == 3 and "no invariant 'spare' blocks" in named.stdout
    assert _run("replay", "--hook", "nobody", *where).exit_code == 0
    (tmp_path / "p.py").write_text(LEAST)
    kind = replace(load_balancer, invariants=(SPARE,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "kind", lambda _: kind)
        good = _run("replay", str(tmp_path / "p.py"), "--hook", "router.pick", *where)
        bad = _run("replay", "--hook", "router.pick", "--json", *where)
    assert good.exit_code == 0 and "kept" in good.stdout
    assert bad.exit_code == 1 and json.loads(bad.stdout)[0]["answer"] == "broken"
    path.write_text("{")
    damaged = _run("replay", "--hook", "router.pick", *where)
    assert damaged.exit_code == 3 and "no regression case" in damaged.stdout
    assert _run("remove", "12345678", *where).exit_code == 2
    assert _run("remove", CASE.digest[:12], "--json", *where).exit_code == 0
    assert not path.exists()


def test_no_case_steers_the_terminal_of_who_lists_it(kept: Regressions) -> None:
    path = kept.add(replace(CASE, hook="\x1b[2Jrouter", gate="\x1b]0;yours\x07", invariant="a\rb"))
    path.with_name("\x1b[31m.json").write_text("{}")
    refused = _run("replay", "nowhere\x1b[2J.py", "--hook", "h")
    for shown in (_run("list", "--dir", str(kept.folder)).stdout, refused.stderr):
        assert not {"\x1b", "\x07", "\r"} & {*shown} and "\N{REPLACEMENT CHARACTER}" in shown


def test_a_candidate_that_dies_while_its_case_is_made_small_is_refused_with_the_first(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gnomon.sdk.isolation.zygote import CandidateStopped
    from gnomon.shadow.evaluation import Status
    from gnomon.shadow.gates import counterexample

    def dies(*_: Any) -> Any:
        raise CandidateStopped(Status.DIED, "killed from outside")

    monkeypatch.setattr(counterexample, "smallest", dies)
    result = sampled(make(GREEDY, target(SPARE)))
    assert result.answer == "failed" and "spare broken" in result.summary
    assert len(result.evidence["counterexample"]["items"]) == 4  # as recorded


def test_making_a_case_small_has_an_end(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from gnomon.shadow.gates import counterexample

    monkeypatch.setattr(counterexample, "_MOST_S", 0.0)
    result = sampled(make(GREEDY, target(SPARE)))
    assert result.answer == "failed"
    assert len(result.evidence["counterexample"]["items"]) == 4
