"""Programs that others write: whatever the order of their answers, one log; money, hints and what is told."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import TraceError
from gnomon.shadow.evaluation import Evaluation, Status
from gnomon.shadow.search.context import Context
from gnomon.shadow.search.core import Search
from gnomon.shadow.search.log import RunLog, proposals
from gnomon.shadow.search.records import (
    Assignment,
    Brief,
    Budget,
    Draft,
    Outcome,
    Prompt,
    Proposal,
    Record,
    Reply,
)
from gnomon.shadow.search.space import Space
from gnomon.shadow.search.strategies import Strategy

SPACE = Space(load_balancer)


class Writing(Strategy):
    """Asks a writer for two programs of three, and remembers what each step could see."""

    def __init__(self, reserve: float = 0.25) -> None:
        self.reserve = reserve
        self.learned: list[Record] = []
        self.money: list[float] = []

    def draft(self, context: Context, rng: random.Random) -> Draft | Brief | None:
        self.money.append(context.money)
        seen = f"{len(self.learned)} {context.hints} {rng.random()}"
        if context.step % 3 == 0:
            return Draft(program(rng.randrange(6)), "mutation")
        return Brief("rewrite", Prompt.of(("user", seen)), "tiny", reserve=self.reserve)

    def learn(self, record: Record) -> None:
        self.learned.append(record)

    def refuses(self, draft: Draft, admitted: object) -> str:
        return "an unlucky number" if "13.5" in draft.source else ""


def program(number: int) -> str:
    return f"def score(noise):\n    return noise * {number}.5\n"


def answered(assignment: Assignment) -> Reply:
    """What the writer makes of a prompt: always the same."""
    luck = random.Random(assignment.brief.prompt.digest)
    if luck.random() < 0.2:
        return Reply(error="prose", cost=luck.choice((None, 0.1)), tokens_in=9)
    return Reply(program(luck.randrange(15)), cost=0.2, tokens_in=9, tokens_out=4)


def scored(proposal: Proposal) -> Evaluation:
    luck = random.Random(proposal.key)
    if luck.random() < 0.1:
        return Evaluation(Status.FAULT, feedback="faulted", metrics=(("depth", 2.0),))
    return Evaluation(Status.OK, luck.random(), (luck.random(), 0.5))


@contextmanager
def opened(
    folder: Path, strategy: Strategy, resume: bool = False, **limits: float
) -> Iterator[Search]:
    with RunLog(folder, {}, resume=resume) as log:
        budget = Budget(**{"evaluations": 30, "proposals": 60} | limits)  # type: ignore[arg-type]
        yield Search(SPACE, strategy, log, budget=budget, window=5)


def run(
    search: Search,
    luck: random.Random,
    stop_after: int = 10**9,
    flying: list[Proposal | Assignment] | None = None,
) -> str:
    """Drive a search with work that ends in any order; return why it ended."""
    flying = [] if flying is None else flying
    for _ in range(stop_after):
        while (asked := search.ask()) is not None and luck.random() < 0.9:
            flying.append(asked)
        if asked is not None:
            flying.append(asked)
        if not flying:
            return search.spent
        ended = flying.pop(luck.randrange(len(flying)))
        if isinstance(ended, Assignment):
            search.answer(ended, answered(ended))
        else:
            search.tell(ended, scored(ended))
    return "stopped"


@settings(max_examples=15)
@given(one=st.integers(), two=st.integers(), dollars=st.sampled_from([math.inf, 1.3]))
def test_one_log_whatever_the_order_of_answers_and_results(
    one: int, two: int, dollars: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    logs = []
    for seed in (one, two):
        folder = tmp_path_factory.mktemp("run")
        with opened(folder, Writing(), dollars=dollars) as search:
            run(search, random.Random(seed))
        logs.append((folder / "log.jsonl").read_bytes())
    assert logs[0] == logs[1]


@settings(max_examples=15)
@given(cut=st.integers(1, 60), seed=st.integers())
def test_a_run_that_was_cut_goes_on_to_the_same_log(
    cut: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole, half = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("half")
    with opened(whole, Writing()) as search:
        run(search, random.Random(1))
    with opened(half, Writing()) as search:
        run(search, random.Random(seed), cut)
    asked: list[int] = []
    with opened(half, Writing(), resume=True) as search:
        done = len(list(proposals(half / "log.jsonl")))
        answer = search.answer
        search.answer = lambda a, r: (asked.append(a.step), answer(a, r))[1]  # type: ignore[method-assign]
        run(search, random.Random(seed))
    assert (whole / "log.jsonl").read_bytes() == (half / "log.jsonl").read_bytes()
    assert all(step >= done for step in asked)  # what the log holds is not written again


def test_every_answer_is_counted_and_none_costs_an_evaluation_for_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, Writing()) as search:
        assert run(search, random.Random(3)) in {"evaluations", "proposals"}
        records = search.records
    found = {record.outcome for record in records}
    assert {Outcome.UNANSWERED, Outcome.DUPLICATE, Outcome.NOT_NOVEL, Outcome.OK} <= found
    kept = list(proposals(tmp_path / "log.jsonl"))
    assert [repr(record) for record in kept] == [repr(record) for record in records]
    for record in records:
        written = record.author == "tiny"
        assert bool(record.prompt) is written
        if record.outcome is Outcome.UNANSWERED:
            assert record.reason == "prose"
            assert not record.source
        if record.outcome is Outcome.FAULT:
            assert record.feedback == "faulted"
            assert record.metrics == (("depth", 2.0),)


@settings(max_examples=20)
@given(dollars=st.floats(0.0, 3.0), seed=st.integers(0, 99))
def test_the_cap_holds_with_what_is_under_way(
    dollars: float, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with opened(tmp_path_factory.mktemp("run"), Writing(), dollars=dollars) as search:
        ended = run(search, random.Random(seed))
        spent = sum(0.25 if r.cost is None else r.cost for r in search.records)
        assert spent <= dollars + 1e-9
        assert search.purse.left >= -1e-9
    assert ended in {"dollars", "evaluations", "proposals"}


def test_without_money_nothing_is_asked_of_a_writer(tmp_path: Path) -> None:
    with opened(tmp_path, Writing(reserve=5.0), dollars=4.0) as search:
        assert run(search, random.Random(1)) == "dollars"
        assert [record.author for record in search.records] == ["keyless"]


def test_an_answer_comes_once_and_to_what_was_asked(tmp_path: Path) -> None:
    with opened(tmp_path, Writing()) as search:
        first, second = search.ask(), search.ask()
        assert isinstance(first, Proposal)
        assert isinstance(second, Assignment)
        assert search.writing == (second,)
        search.answer(second, Reply(program(77)))
        with pytest.raises(RuntimeError, match="answer.* of step 1 without ask"):
            search.answer(second, Reply(program(78)))
        third = search.ask()
        assert isinstance(third, Proposal)
        assert third.draft.author == "tiny"


def test_a_program_waits_for_those_before_it(tmp_path: Path) -> None:
    with opened(tmp_path, Writing()) as search:
        search.ask()
        one, two = search.ask(), search.ask()
        assert isinstance(one, Assignment)
        assert isinstance(two, Assignment)
        search.answer(two, Reply(program(70)))
        assert not search.ready
        search.answer(one, Reply(program(70)))
        assert search.ready
        later = search.ask()
        assert isinstance(later, Proposal)
        assert later.step == one.step  # and of the two, the later one is the duplicate
        assert search.counts == {Outcome.DUPLICATE: 1}


def test_what_is_told_and_hinted_comes_again_on_resume(tmp_path: Path) -> None:
    flying: list[Proposal | Assignment] = []
    with opened(tmp_path, Writing()) as search:
        run(search, random.Random(1), 6, flying)
        search.offer(Draft(program(99), "ticket-1", author="ada"))
        search.hint("mind the slow server")
        run(search, random.Random(1), 12, flying)
        told = [record for record in search.records if record.author == "ada"]
    assert [record.operator for record in told] == ["told:ticket-1"]
    assert told[0].known >= 0
    before = (tmp_path / "log.jsonl").read_bytes()
    with opened(tmp_path, Writing(), resume=True) as search:
        run(search, random.Random(4))
        assert search.hints == ["mind the slow server"]
    after = (tmp_path / "log.jsonl").read_bytes()
    assert after.startswith(before)
    assert b"mind the slow server" in before


def test_ten_megabytes_are_no_program_and_the_log_can_be_read_again(tmp_path: Path) -> None:
    huge = "\N{GRINNING FACE}" * 10_000_000
    with opened(tmp_path, Writing(), evaluations=3) as search:
        search.offer(Draft(huge, "person"))
        asked = search.ask()
        while not isinstance(asked, Assignment):
            asked = search.ask()
        search.answer(asked, Reply(huge))
        asked = search.ask()
        while not isinstance(asked, Assignment):
            asked = search.ask()
        search.answer(asked, Reply(error=huge))
        first, second, third = search.records
    assert first.outcome is second.outcome is third.outcome is Outcome.UNANSWERED
    assert first.reason == "10000000 characters, at most 1000000 are a program"
    assert (first.source, second.reason, len(third.reason)) == ("", first.reason, 2000)
    log = tmp_path / "log.jsonl"
    before = log.read_bytes()
    assert len(before) < 100_000
    with opened(tmp_path, Writing(), resume=True, evaluations=3) as search:
        search.ask()
        assert search.records == [first, second, third]
    assert log.read_bytes() == before


def test_a_log_whose_prompts_were_others_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path, Writing()) as search:
        run(search, random.Random(1), 9)
    other = Writing()
    other.learned.append(next(proposals(tmp_path / "log.jsonl")))  # so its prompts differ
    with (
        opened(tmp_path, other, resume=True) as search,
        pytest.raises(TraceError, match="step 1 holds .* asks for another program"),
    ):
        run(search, random.Random(1))
