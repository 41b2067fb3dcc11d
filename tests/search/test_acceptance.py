"""What a search must stand, one test each; the table in ``docs/reference/search.md`` names those that are elsewhere."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import ConfigurationError
from gnomon.shadow.evaluation import Evaluation
from gnomon.shadow.models.breaker import Breaker
from gnomon.shadow.search.authors import edits
from gnomon.shadow.search.authors.prompts import statement, templates
from gnomon.shadow.search.authors.prompts.builder import Prompts
from gnomon.shadow.search.authors.writers import Authors
from gnomon.shadow.search.authors.writing import Arm, Written
from gnomon.shadow.search.bandit import Bandit
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.log import RunLog, proposals
from gnomon.shadow.search.records import FREE, Assignment, Budget, Outcome, Record, Reply
from gnomon.shadow.search.results.result import EvolveResult
from gnomon.shadow.search.space import Space
from gnomon.shadow.search.strategies import STRATEGIES, Makers, keyless

from .conftest import RankEngine, rank

SPACE = Space(load_balancer)
SMALL = Options(budget=Budget(40, 400), seed=3)
TINY = b'"author":"tiny"'
DYING = Path(__file__).with_name("dying.py")
Answer = Callable[[Assignment], str]


class Model:
    """A model that answers in its own time, by what it is asked; every answer costs what it was to cost at most.

    Attributes:
        calls: how many.
        flying: dollars of the calls under way and of all that ended.
    """

    def __init__(self, answer: Answer, threads: int = 1, delay_s: float = 0.0) -> None:
        self.calls = 0
        self.spent = 0.0
        self.most = 0.0
        self._answer = answer
        self._delay_s = delay_s
        self._pool = ThreadPoolExecutor(threads)

    def submit(self, assignment: Assignment) -> Future[Reply]:
        self.calls += 1
        self.spent += assignment.brief.reserve
        self.most = max(self.most, self.spent)
        return self._pool.submit(self._reply, assignment)

    def _reply(self, assignment: Assignment) -> Reply:
        time.sleep(random.random() * self._delay_s)
        source, error = edits.read(self._answer(assignment), assignment)
        return Reply(source, error, cost=assignment.brief.reserve, tokens_in=9, tokens_out=9)

    def close(self) -> None:
        self._pool.shutdown()


def weighted(assignment: Assignment) -> str:
    """A program of the family that the hidden objective is of, by the prompt alone."""
    luck = random.Random(assignment.brief.prompt.digest)
    a, b, c = (luck.choice((0.3, 0.6, 1.1, 1.7, 2.0)) for _ in range(3))
    return (
        "```python\nimport math\n\ndef score(inflight, ewma_ms, weight):\n"
        f"    return {a} * math.log1p(inflight) + {b} * math.log(ewma_ms) - {c} * math.log(weight)\n```"
    )


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts(templates.load(), statement.of_space(SPACE))


def makers(prompts: Prompts, reserve: float = 0.01, weight: float = 1.0) -> Makers:
    """The keyless proposers, and one that asks a model, with a breaker."""
    arm = Arm("tiny", reserve=lambda _prompt, _tokens: reserve)
    written = Written((arm,), prompts, Bandit(["tiny"]), Breaker(["tiny"]))
    return [(weight, written), *keyless()]


def searched(
    folder: Path, options: Options, engine: RankEngine, made: Makers, model: Model
) -> EvolveResult:
    try:
        return evolve(load_balancer, engine, options, folder, authors=Authors(made, model))
    finally:
        engine.close()
        model.close()


def jittery(source: str, again: int) -> None:
    time.sleep(random.random() * 0.003)


def logged(folder: Path) -> list[Record]:
    return list(proposals(folder / "log.jsonl"))


@pytest.mark.parametrize("name", sorted(STRATEGIES.keys() - {"published", "seeds"}))
def test_2_two_runs_give_one_log_however_many_calls_and_evaluations_are_under_way(
    tmp_path: Path, prompts: Prompts, name: str
) -> None:
    logs = []
    for parallel, writing in ((1, 1), (4, 4)):
        folder = tmp_path / str(parallel)
        options = replace(SMALL, strategy=name, parallel=parallel, writing=writing)
        model = Model(weighted, writing, 0.004)
        engine = RankEngine(parallel, jittery)
        searched(folder, options, engine, makers(prompts), model)
        logs.append((folder / "log.jsonl").read_bytes())
    assert logs[0] == logs[1]


def test_5_programs_that_differ_in_names_and_layout_are_evaluated_once(
    tmp_path: Path, prompts: Prompts
) -> None:
    """A model that gives one program again and again, in other words each time."""
    count = iter(range(10**6))

    def renamed(assignment: Assignment) -> str:
        n = next(count)
        return (
            f"def score(ewma_ms, inflight):\n    load_{n} = inflight * 7.25  # {n}\n"
            f"    return load_{n}{' ' * (n % 5)} + ewma_ms\n"
        )

    engine = RankEngine()
    made = [(20.0, makers(prompts)[0][1]), *keyless()]
    searched(tmp_path, SMALL, engine, made, Model(renamed))
    theirs = [record for record in logged(tmp_path) if record.author == "tiny"]
    assert Counter(record.outcome for record in theirs)[Outcome.OK] == 1
    assert Counter(record.outcome for record in theirs)[Outcome.DUPLICATE] > 20
    assert len({record.source for record in theirs}) == len(theirs)
    assert sum("7.25" in source for source, split in engine.calls if split == "train") == 1
    assert max(engine.calls.values()) == 1


@pytest.mark.parametrize(
    "said", ["", "I would rather not.", "x" * 500_000, "```python\nimport os\n"]
)
def test_7_a_model_that_gives_nothing_of_use_is_left_alone_and_keyless_search_goes_on(
    tmp_path: Path, prompts: Prompts, said: str
) -> None:
    model = Model(lambda _: said)
    options = replace(SMALL, budget=Budget(120, 1200))
    result = searched(tmp_path, options, RankEngine(), makers(prompts, weight=5.0), model)
    records = logged(tmp_path)
    assert result.stopped == "evaluations"
    assert sum(record.outcome not in FREE for record in records) == 120
    useless = [record for record in records if record.author == "tiny"]
    if all(record.outcome is Outcome.UNANSWERED for record in useless):
        assert 5 <= model.calls <= 5 + options.window + 4  # until it opened, and a few probes
    keyless_part = [record for record in records if record.author == "keyless"]
    assert result.winner is not None
    assert len(keyless_part) >= 100


@settings(max_examples=8)
@given(cap=st.floats(0.0, 0.5), reserve=st.floats(0.01, 0.2), writing=st.integers(1, 5))
def test_8_money_is_never_overdrawn_and_what_was_found_is_kept(
    tmp_path_factory: pytest.TempPathFactory, cap: float, reserve: float, writing: int
) -> None:
    folder = tmp_path_factory.mktemp("cap")
    model = Model(weighted, writing)
    built = Prompts(templates.load(), statement.of_space(SPACE))
    options = replace(SMALL, budget=Budget(25, 250, dollars=cap), writing=writing)
    result = searched(folder, options, RankEngine(), makers(built, reserve, 5.0), model)
    assert model.most <= cap
    assert model.calls == int(cap / reserve + 1e-9) or model.calls * reserve <= cap
    records = logged(folder)
    assert sum(record.cost or 0.0 for record in records) <= cap
    assert sum(record.outcome not in FREE for record in records) == 25
    assert result.winner is not None


def died(folder: Path, moment: int) -> str:
    """Run the search in a process of its own; return what it printed, or '' where it was killed."""
    command = [sys.executable, str(DYING), str(folder), str(moment)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("seed", "deaths"),
    [(1, 5), *(pytest.param(n, 40, marks=pytest.mark.soak) for n in range(2, 12))],
)
def test_10_a_run_killed_again_and_again_ends_in_the_same_log(
    tmp_path: Path, seed: int, deaths: int
) -> None:
    """The process dies before, within and after lines of the log, evaluations and calls."""
    whole = died(tmp_path / "whole", 0)
    rng = random.Random(seed)
    for _ in range(deaths):
        died(tmp_path / "killed", rng.randint(1, 80))
    assert died(tmp_path / "killed", 0) == whole
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("whole", "killed")]
    assert logs[0] == logs[1]


@pytest.fixture(scope="module")
def written_whole(tmp_path_factory: pytest.TempPathFactory, prompts: Prompts) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    searched(folder, SMALL, RankEngine(), makers(prompts), Model(weighted))
    return (folder / "log.jsonl").read_bytes()


@settings(max_examples=12)
@given(data=st.data())
def test_10_a_log_cut_at_any_byte_goes_on_to_the_same_log(
    tmp_path_factory: pytest.TempPathFactory,
    prompts: Prompts,
    written_whole: bytes,
    data: st.DataObject,
) -> None:
    cut = data.draw(st.integers(1, len(written_whole)))
    folder = tmp_path_factory.mktemp("cut")
    (folder / "log.jsonl").write_bytes(written_whole[:cut])
    engine, model = RankEngine(2), Model(weighted, 2)
    options = replace(SMALL, resume=True)
    searched(folder, options, engine, makers(prompts), model)
    assert (folder / "log.jsonl").read_bytes() == written_whole
    kept = written_whole[: written_whole.rfind(b"\n", 0, cut) + 1]
    assert model.calls == written_whole.count(TINY) - kept.count(TINY)
    known = {json.loads(line).get("source") for line in kept.splitlines()}
    assert not known & {source for source, split in engine.calls if split == "train"}


@settings(max_examples=12)
@given(moment=st.integers(1, 150))
def test_10_a_run_interrupted_at_any_moment_keeps_what_it_found_and_goes_on_to_the_same_log(
    tmp_path_factory: pytest.TempPathFactory, prompts: Prompts, written_whole: bytes, moment: int
) -> None:
    """Ctrl-C in the engine, in a report of progress or while the time is read."""
    folder = tmp_path_factory.mktemp("interrupted")
    left = iter(range(moment, -(10**6), -1))

    def interrupt(*_: Any) -> None:
        if next(left) == 0:
            raise KeyboardInterrupt

    def clock() -> float:
        interrupt()
        return 0.0

    def run(options: Options, **more: Any) -> EvolveResult | None:
        engine, model = RankEngine(), Model(weighted)
        authors = Authors(makers(prompts), model)
        try:
            return evolve(load_balancer, engine, options, folder, authors=authors, **more)
        except KeyboardInterrupt:
            return None
        finally:
            engine.close()
            model.close()

    run(SMALL, clock=clock, progress=interrupt)
    log = folder / "log.jsonl"
    assert written_whole.startswith(log.read_bytes()) if log.exists() else moment < 3
    result = run(replace(SMALL, resume=log.exists() and log.stat().st_size > 0))
    assert result is not None
    assert log.read_bytes() == written_whole


@pytest.mark.parametrize("start", ["library", "incumbent"])
def test_11_the_winner_is_scored_again_on_a_window_that_the_search_left_untouched(
    tmp_path: Path, start: str
) -> None:
    order: list[tuple[str, str]] = []

    class Ordered(RankEngine):
        def submit(self, source: str, split: Any, trial: Any = None) -> Future[Evaluation]:
            order.append((source, split))
            future: Future[Evaluation] = Future()
            found = super().submit(source, split, trial).result()
            luck = random.Random(source)
            stretches = tuple(found.score * luck.uniform(0.9, 1.1) for _ in range(20))
            future.set_result(replace(found, segments=stretches if found.segments else ()))
            return future

    alone = start == "incumbent"
    base = load_balancer.baselines["least_outstanding" if alone else "peak_ewma"].source
    assert base is not None
    options = replace(SMALL, start=start, incumbent=base, budget=Budget(1 if alone else 40))
    engine = Ordered()
    result = evolve(load_balancer, engine, options, tmp_path)
    engine.close()
    splits = [split for _, split in order]
    assert splits.index("validation") >= options.budget.evaluations  # the search has ended by then
    assert result.winner is not None and result.incumbent is not None
    again = rank(result.winner.source, "validation")
    assert (result.winner.validation, len(result.winner.segments)) == (again.score, 20)
    if alone:  # nothing else was tried, and nothing published is better here
        assert result.verdict == "keep the incumbent: nothing that was tried beats it on validation"
        assert not result.improved
    else:
        assert result.over_interval is not None
        assert result.over_interval[0] < result.over_incumbent < result.over_interval[1]
        assert result.improved


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_12_every_arm_has_the_same_budget_and_the_same_finalists_to_beat(
    tmp_path: Path, name: str
) -> None:
    engine = RankEngine()
    options = replace(SMALL, strategy=name)
    try:
        result = evolve(load_balancer, engine, options, tmp_path)
    finally:
        engine.close()
    records = logged(tmp_path)
    counted = sum(record.outcome not in FREE for record in records)
    published = set(SPACE.baselines())
    assert counted == len({r.source for r in records if r.outcome not in FREE}) <= 40
    if name in {"published", "seeds"}:
        assert result.stopped in {"exhausted", "proposals", "evaluations"}
    else:
        assert counted == 40
        assert result.stopped == "evaluations"
    assert {
        finalist.name for finalist in result.finalists if finalist.name != "evolved"
    } <= published
    assert result.baseline is not None


def test_two_runs_of_one_folder_are_refused_while_both_live(tmp_path: Path) -> None:
    """In two processes, as it would happen."""
    with RunLog(tmp_path, {}):
        command = [sys.executable, str(DYING), str(tmp_path), "0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "in use by another run" in done.stderr


@pytest.mark.parametrize(
    "budget",
    [Budget(0), Budget(0, 5), Budget(5, 0, seconds=0.0), Budget(3, 3, dollars=0.0)],
)
def test_a_budget_of_nothing_is_no_error_and_spends_nothing(
    tmp_path: Path, prompts: Prompts, budget: Budget
) -> None:
    model, engine = Model(weighted), RankEngine()
    result = searched(tmp_path, replace(SMALL, budget=budget), engine, makers(prompts), model)
    trained = sum(split == "train" for _, split in engine.calls)
    published = len(SPACE.baselines())
    assert trained <= budget.evaluations + published
    assert model.calls == 0 or budget.dollars > 0.0
    assert result.stopped in {"evaluations", "proposals", "time"}


def test_a_budget_below_nothing_is_refused() -> None:
    for budget in (Budget(-1), Budget(1, -1), Budget(1, seconds=-1.0), Budget(1, dollars=-0.1)):
        with pytest.raises(ConfigurationError, match="limits are not negative"):
            Options(budget=budget)
