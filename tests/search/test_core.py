"""The protocol of ask and tell: order, counting, duplicates, and what a step may know."""

from __future__ import annotations

import ast
import math
import random
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import TraceError
from gnomon.shadow.evaluation import Evaluation, Status
from gnomon.shadow.search.context import Context
from gnomon.shadow.search.core import Search
from gnomon.shadow.search.keyless.grammar import condition
from gnomon.shadow.search.log import RunLog
from gnomon.shadow.search.records import Assignment, Budget, Draft, Outcome, Proposal, Record
from gnomon.shadow.search.results.finals import Finals
from gnomon.shadow.search.space import Space, seeds
from gnomon.shadow.search.strategies import STRATEGIES, Strategy, strategy

SPACE = Space(load_balancer)


class Script(Strategy):
    """A strategy that proposes given sources and remembers what it was told."""

    def __init__(self, *sources: str) -> None:
        self.sources = list(sources)
        self.known: list[Record] = []
        self.seen_at: list[tuple[int, int]] = []

    def draft(self, context: Context, rng: random.Random) -> Draft | None:
        self.seen_at.append((context.step, len(self.known)))
        return Draft(self.sources.pop(0), "script") if self.sources else None

    def learn(self, record: Record) -> None:
        self.known.append(record)


def constant(value: float) -> str:
    return f"def score(noise):\n    return noise + {value}\n"


def fine(score: float = 1.0) -> Evaluation:
    return Evaluation(Status.OK, score, (score,))


class Opened:
    """A search over a script, with its log."""

    def __init__(self, folder: Path, script: Script, window: int = 3, **limits: int) -> None:
        self.log = RunLog(folder, {})
        budget = Budget(**({"evaluations": 50} | limits))
        self.search = Search(SPACE, script, self.log, budget=budget, window=window)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.log.close()


def must(proposal: Proposal | Assignment | None) -> Proposal:
    assert isinstance(proposal, Proposal)
    return proposal


def test_a_step_knows_results_up_to_the_window_and_no_later_ones(tmp_path: Path) -> None:
    script = Script(*map(constant, range(9)))
    with Opened(tmp_path, script, window=3) as opened:
        search = opened.search
        flying = [must(search.ask()) for _ in range(3)]
        assert search.ask() is None  # step 3 has to know of step 0
        search.tell(flying[2], fine())
        search.tell(flying[1], fine())
        assert search.ask() is None
        search.tell(flying[0], fine())
        for _ in range(3):
            search.tell(must(search.ask()), fine())
    assert script.seen_at == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2), (5, 3)]


def test_results_are_written_in_the_order_of_submission(tmp_path: Path) -> None:
    with Opened(tmp_path, Script(*map(constant, range(3)))) as opened:
        search = opened.search
        flying = [must(search.ask()) for _ in range(3)]
        for proposal in reversed(flying):
            assert search.records == []
            search.tell(proposal, fine(proposal.step))
        assert [record.score for record in search.records] == [0.0, 1.0, 2.0]


def test_tell_without_ask_or_twice_is_refused(tmp_path: Path) -> None:
    with Opened(tmp_path, Script(constant(1))) as opened:
        proposal = must(opened.search.ask())
        other = Proposal(7, "p", "k", Draft("s", "o"), 3)
        with pytest.raises(RuntimeError, match=r"step 7 without ask.*open steps: \[0\]"):
            opened.search.tell(other, fine())
        opened.search.tell(proposal, fine())
        with pytest.raises(RuntimeError, match="step 0 without ask"):
            opened.search.tell(proposal, fine())


def test_the_same_program_under_other_names_is_evaluated_once(tmp_path: Path) -> None:
    one = "def score(inflight, ewma_ms):\n    load = inflight + 1.0\n    return load * ewma_ms\n"
    two = (
        "def score(ewma_ms, inflight):\n    x = inflight + 1.0  # same\n    return (x) * ewma_ms\n"
    )
    with Opened(tmp_path, Script(one, two, one)) as opened:
        opened.search.tell(must(opened.search.ask()), fine())
        assert opened.search.ask() is None
        assert opened.search.counts == {Outcome.OK: 1, Outcome.DUPLICATE: 2}
        assert len({record.key for record in opened.search.records}) == 1


def test_what_is_outside_the_language_is_counted_and_never_evaluated(tmp_path: Path) -> None:
    bad = ["def score(noise):\n    return open(noise)\n", "not python", ""]
    with Opened(tmp_path, Script(*bad, constant(1))) as opened:
        assert must(opened.search.ask()).step == 3
        assert opened.search.counts == {Outcome.INVALID: 3}
        assert all(record.reason for record in opened.search.records)


@pytest.mark.parametrize(
    "status", [Status.FAULT, Status.TIMEOUT, Status.VIOLATION, Status.DIED, Status.REJECTED]
)
def test_every_outcome_is_counted_by_its_name(tmp_path: Path, status: Status) -> None:
    with Opened(tmp_path, Script(constant(1))) as opened:
        opened.search.tell(must(opened.search.ask()), Evaluation(status, detail="took 3.14 s"))
        assert opened.search.counts == {Outcome(status.value): 1}
        assert math.isnan(opened.search.records[0].score)
    assert "3.14" not in (tmp_path / "log.jsonl").read_text()


def test_a_score_that_is_no_number_is_the_evaluators_fault(tmp_path: Path) -> None:
    with Opened(tmp_path, Script(constant(1))) as opened:
        opened.search.tell(must(opened.search.ask()), Evaluation(Status.OK, math.nan))
        assert opened.search.counts == {Outcome.EVALUATOR_ERROR: 1}


def test_an_evaluators_error_is_not_held_against_the_program(tmp_path: Path) -> None:
    script = Script(constant(1), constant(1), constant(1))
    with Opened(tmp_path, script, window=1) as opened:
        search = opened.search
        search.tell(must(search.ask()), Evaluation(Status.EVALUATOR_ERROR))
        search.tell(must(search.ask()), fine())
        assert search.ask() is None
        assert [record.outcome for record in search.records] == [
            Outcome.EVALUATOR_ERROR,
            Outcome.OK,
            Outcome.DUPLICATE,
        ]


def test_a_seed_that_the_evaluator_failed_on_comes_again(tmp_path: Path) -> None:
    chosen = strategy("independent", {"one": constant(1), "two": constant(2)})
    with RunLog(tmp_path, {}) as log:
        search = Search(SPACE, chosen, log, budget=Budget(3), window=1)
        search.tell(must(search.ask()), Evaluation(Status.EVALUATOR_ERROR))
        search.tell(must(search.ask()), fine())
        search.tell(must(search.ask()), fine())
        operators = [record.operator for record in search.records]
    assert operators == ["seed:one", "seed:two", "seed:one"]


def test_a_seed_that_broke_an_invariant_comes_again_with_probes(tmp_path: Path) -> None:
    chosen = strategy("evolve", {"one": constant(1), "two": constant(2)})
    with RunLog(tmp_path, {}) as log:
        search = Search(SPACE, chosen, log, budget=Budget(4), window=1)
        search.tell(must(search.ask()), Evaluation(Status.VIOLATION))
        for _ in range(3):
            search.tell(must(search.ask()), fine())
        first, *_, last = search.records
        operators = [record.operator for record in search.records]
    assert operators == ["seed:one", "seed:two", "probe:300", "probe:60"]
    assert last.parents == (first.program,)
    assert "since_picked < 60.0" in last.source


def test_the_best_on_train_is_a_finalist_however_long_it_is(tmp_path: Path) -> None:
    short = [f"def score(noise):\n    return noise * {n}.5\n" for n in range(2, 6)]
    long = "def score(noise, weight):\n    return noise * 3.5 + weight * 2.5 - weight * noise\n"
    with Opened(tmp_path, Script(*short, long), window=9) as opened:
        search = opened.search
        for index in range(5):
            search.tell(must(search.ask()), fine(1000.0 - index / 100))
        search.finish()
        finals = Finals(search, "", top=2)
        evolved = {source for source, split in finals.wanted() if split == "validation"}
    assert long in evolved
    assert sum(source in evolved for source in short) == 1


def test_finalists_are_of_several_structures(tmp_path: Path) -> None:
    """The best on train are one program with other constants; what fits train by chance does so in all."""
    alike = [f"def score(noise):\n    return noise * {n}.5\n" for n in range(2, 9)]
    other = "def score(noise, weight):\n    return noise * 3.5 + weight\n"
    third = "def score(noise, weight):\n    return noise / weight - 0.5\n"
    with Opened(tmp_path, Script(*alike, third, other), window=12) as opened:
        search = opened.search
        for index in range(9):
            search.tell(must(search.ask()), fine(1000.0 + index))
        search.finish()
        finals = Finals(search, "", top=4)
        evolved = {source for source, split in finals.wanted() if split == "validation"}
    assert {other, third} <= evolved
    assert alike[0] in evolved


def test_thresholds_are_of_the_size_that_was_recorded() -> None:
    inflight, ewma = load_balancer.features[:2]
    recorded = Space(load_balancer, {"ewma_ms": 40.0})
    assert recorded.scale(ewma) == 40.0
    assert 0.0 < recorded.scale(inflight) <= 10.0
    rng = random.Random(1)
    found = [ast.unparse(condition(recorded, rng)) for _ in range(300)]
    cuts = [float(text.split()[-1]) for text in found if text.startswith("ewma_ms")]
    assert 25.0 < sorted(cuts)[len(cuts) // 2] < 64.0


def test_limits_are_hard(tmp_path: Path) -> None:
    with Opened(tmp_path / "a", Script(*map(constant, range(9))), evaluations=2) as opened:
        assert [must(opened.search.ask()).step for _ in range(2)] == [0, 1]
        assert opened.search.ask() is None
        assert opened.search.spent == "evaluations"
    with Opened(tmp_path / "b", Script(*[constant(1)] * 50), proposals=20) as opened:
        opened.search.tell(must(opened.search.ask()), fine())
        assert opened.search.ask() is None
        assert opened.search.spent == "proposals"
        assert sum(opened.search.counts.values()) == 20
    with Opened(tmp_path / "c", Script()) as opened:
        assert opened.search.ask() is None
        assert opened.search.spent == "exhausted"


def test_a_log_of_another_strategy_is_refused(tmp_path: Path) -> None:
    with Opened(tmp_path, Script(constant(1))) as opened:
        opened.search.tell(must(opened.search.ask()), fine())
    with RunLog(tmp_path, {}, resume=True) as log:
        search = Search(SPACE, Script(constant(2)), log, budget=Budget(9))
        with pytest.raises(TraceError, match="step 0 holds program"):
            search.ask()


class AskTell(RuleBasedStateMachine):
    """The real strategies, any order of tells and any outcome, against plain bookkeeping."""

    window = 4
    limit = 25

    @initialize(name=st.sampled_from(sorted(STRATEGIES)), seed=st.integers(0, 5))
    def begin(self, name: str, seed: int) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.log = RunLog(Path(self.folder.name), {})
        chosen = strategy(name, seeds(SPACE, "library"))
        budget = Budget(self.limit, 60)
        self.search = Search(SPACE, chosen, self.log, budget=budget, seed=seed, window=self.window)
        self.open: list[Proposal] = []
        self.told: dict[int, Outcome] = {}
        self.keys: list[str] = []

    @rule()
    def ask(self) -> None:
        proposal = self.search.ask()
        assert not isinstance(proposal, Assignment)
        if proposal is None:
            assert self.open or self.search.spent
            return
        assert proposal.step not in {other.step for other in self.open}
        self.open.append(proposal)
        self.keys.append(proposal.key)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), status=st.sampled_from(list(Status)), score=st.floats(0.1, 9.0))
    def tell(self, data: st.DataObject, status: Status, score: float) -> None:
        proposal = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        good = status is Status.OK
        self.search.tell(proposal, fine(score) if good else Evaluation(status))
        self.told[proposal.step] = Outcome(status.value)

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "search"):
            return
        search = self.search
        assert len(self.open) <= self.window
        assert len(self.keys) <= self.limit
        assert [record.step for record in search.records] == list(range(len(search.records)))
        for record in search.records:
            refused = record.outcome in {Outcome.INVALID, Outcome.DUPLICATE}
            assert refused or record.outcome is self.told[record.step]
        first_open = min((proposal.step for proposal in self.open), default=search.steps)
        assert len(search.records) == first_open
        assert sum(search.counts.values()) == search.steps - len(self.open)
        errors = sum(outcome is Outcome.EVALUATOR_ERROR for outcome in self.told.values())
        assert len(self.keys) - len(set(self.keys)) <= errors
        best = search.archive.best
        assert best is None or search.records[best.step] == best

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()
            self.folder.cleanup()


TestAskTell = AskTell.TestCase
TestAskTell.settings = settings(max_examples=12, stateful_step_count=40)
