"""Whole runs: the same log however they are run, hard limits, honest results."""

from __future__ import annotations

import math
import random
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import ConfigurationError, SearchError
from gnomon.shadow.evaluation import Evaluation, Status
from gnomon.shadow.search.authors.writers import Authors
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.keyless.tuning import skeleton
from gnomon.shadow.search.log import proposals, read_log
from gnomon.shadow.search.progress import Progress
from gnomon.shadow.search.records import FREE, Budget, Outcome
from gnomon.shadow.search.results.result import EvolveResult
from gnomon.shadow.search.space import Space, seeds
from gnomon.shadow.search.strategies import STRATEGIES

if TYPE_CHECKING:
    from .conftest import RankEngine

SMALL = Options(budget=Budget(40), seed=3)
BROKEN = Evaluation(Status.EVALUATOR_ERROR, detail="worker died")


def run(engine: RankEngine, folder: Path, options: Options = SMALL, **more: object) -> EvolveResult:
    try:
        return evolve(load_balancer, engine, options, folder, **more)  # type: ignore[arg-type]
    finally:
        engine.close()


def jittery(source: str, again: int) -> None:
    """Take a while that differs from program to program and from run to run."""
    time.sleep(random.random() * 0.004)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_log_is_the_same_at_any_parallelism(
    tmp_path: Path, rank_engine: type[RankEngine], strategy: str
) -> None:
    results = [
        run(
            rank_engine(parallel, jittery),
            tmp_path / str(index),
            replace(SMALL, strategy=strategy, parallel=parallel),
        )
        for index, parallel in enumerate((1, 2, 4, 4))
    ]
    assert len({result.log_hash for result in results}) == 1
    assert len({(tmp_path / str(i) / "log.jsonl").read_bytes() for i in range(4)}) == 1
    other = run(rank_engine(), tmp_path / "s", replace(SMALL, strategy=strategy, seed=4))
    assert other.log_hash != results[0].log_hash


@pytest.mark.parametrize("cut", [0, 1, 5, 12, 20, 33, 39, 43])
def test_a_run_killed_anywhere_ends_in_the_same_log(
    tmp_path: Path, rank_engine: type[RankEngine], cut: int
) -> None:
    whole = run(rank_engine(), tmp_path / "a")
    lines = (tmp_path / "a" / "log.jsonl").read_bytes().splitlines(keepends=True)
    kept = lines[: 1 + min(cut, len(lines) - 2)]
    torn = b"".join(kept) + lines[len(kept)][: 10 + cut]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "log.jsonl").write_bytes(torn)
    engine = rank_engine()
    again = run(engine, tmp_path / "b", replace(SMALL, resume=True, parallel=4))
    assert (tmp_path / "b" / "log.jsonl").read_bytes() == b"".join(lines)
    assert replace(again, seconds=0.0) == replace(whole, seconds=0.0)
    logged = {r.source for r in list(proposals(tmp_path / "a" / "log.jsonl"))[: len(kept) - 1]}
    assert not logged & {source for source, split in engine.calls if split == "train"}


def test_a_finished_run_is_read_and_not_evaluated_again(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    first = run(rank_engine(), tmp_path)
    engine = rank_engine()
    again = run(engine, tmp_path, replace(SMALL, resume=True))
    assert not engine.calls
    assert replace(again, seconds=0.0) == replace(first, seconds=0.0)


def test_candidates_that_never_end_do_not_disable_the_run(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    hung: list[str] = []

    def hang(source: str, again: int) -> Evaluation | None:
        if len(hung) < 14 and source not in seeds_of_kind:
            hung.append(source)
            return Evaluation(Status.TIMEOUT, detail="killed after 1.0 s")
        return None

    seeds_of_kind = set(seeds_in_space().values())
    result = run(rank_engine(2, hang), tmp_path)
    assert result.counts["timeout"] == len(hung) == 14
    assert result.counts["ok"] == 40 - 14
    assert result.winner is not None


def seeds_in_space() -> dict[str, str]:
    from gnomon.shadow.search.space import Space

    return seeds(Space(load_balancer), "library")


def test_an_evaluators_hiccup_is_tried_again_and_leaves_no_trace(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    plain = run(rank_engine(), tmp_path / "a")
    engine = rank_engine(1, lambda source, again: BROKEN if again == 1 else None)
    shaky = run(engine, tmp_path / "b")
    assert shaky.log_hash == plain.log_hash
    assert set(engine.calls.values()) == {2}


def test_a_raising_engine_is_an_evaluators_error(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    def explode(source: str, again: int) -> Evaluation | None:
        if again == 1:
            raise OSError("disk full")
        return None

    assert (
        run(rank_engine(1, explode), tmp_path).counts
        == run(rank_engine(), tmp_path / "plain").counts
    )


def test_a_dead_evaluator_stops_the_run_which_then_resumes_to_the_same_log(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    whole = run(rank_engine(), tmp_path / "a")
    alive = {record.source for record in list(proposals(tmp_path / "a" / "log.jsonl"))[:15]}
    broken = rank_engine(1, lambda source, again: None if source in alive else BROKEN)
    with pytest.raises(SearchError, match=r"5 times in a row \(worker died\).*--resume"):
        run(broken, tmp_path / "b")
    assert len(list(proposals(tmp_path / "b" / "log.jsonl"))) >= 15
    again = run(rank_engine(), tmp_path / "b", replace(SMALL, resume=True))
    assert again.log_hash == whole.log_hash


def test_ctrl_c_keeps_what_was_found(tmp_path: Path, rank_engine: type[RankEngine]) -> None:
    def interrupt(glance: Progress) -> None:
        if glance.done == 20:
            raise KeyboardInterrupt

    whole = run(rank_engine(), tmp_path / "a")
    result = run(rank_engine(), tmp_path / "b", progress=interrupt)
    assert result.stopped == "interrupted"
    assert sum(n for outcome, n in result.counts.items() if outcome != "duplicate") == 20
    assert result.winner is None
    assert min(f.train for f in result.finalists if not math.isnan(f.train)) > 0
    assert (
        run(rank_engine(), tmp_path / "b", replace(SMALL, resume=True)).log_hash == whole.log_hash
    )


def test_the_winner_is_the_best_on_validation_and_beats_the_published_ones_here(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    engine = rank_engine()
    result = run(engine, tmp_path, replace(SMALL, budget=Budget(200)))
    assert result.winner is not None
    assert result.baseline is not None
    assert result.origin == "evolved"
    assert result.search_added == pytest.approx(
        1 - result.winner.validation / result.baseline.validation
    )
    assert result.search_added > 0.02
    assert result.winner.validation <= 1.005 * min(f.validation for f in result.finalists)
    assert engine.calls[result.winner.source, "validation"] == 1
    assert result.lineage[-1][1].startswith("seed:")
    assert sum(result.counts.values()) == len(list(proposals(tmp_path / "log.jsonl")))
    steps = [score for _, score in result.best_by_step]
    assert steps == sorted(steps, reverse=True)


def test_every_published_policy_is_validated_whatever_the_start(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    result = run(rank_engine(), tmp_path, replace(SMALL, start="weak", budget=Budget(10)))
    published = {b.name for b in load_balancer.baselines.values() if b.source}
    assert published <= {finalist.name for finalist in result.finalists}
    assert all(math.isfinite(finalist.train) for finalist in result.finalists)


def test_a_published_policy_that_failed_on_train_is_not_replayed_there_again(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    failing = str(load_balancer.baselines["least_ewma"].source)
    engine = rank_engine(
        before=lambda source, _: Evaluation(Status.VIOLATION) if source == failing else None
    )
    result = evolve(load_balancer, engine, Options(Budget(12)), tmp_path)
    engine.close()
    assert engine.calls[failing, "train"] == engine.calls[failing, "validation"] == 1
    assert max(engine.calls.values()) == 1
    (failed,) = (each for each in result.finalists if each.name == "least_ewma")
    assert not failed.sound


def test_without_a_better_program_the_published_one_is_named(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    seeded = set(seeds_in_space().values())
    flat = Evaluation(Status.OK, 9.0, (9.0,))
    engine = rank_engine(1, lambda source, again: None if source in seeded else flat)
    kind = replace(
        load_balancer,
        baselines={"peak_ewma": load_balancer.baselines["peak_ewma"]},
    )
    try:
        result = evolve(kind, engine, replace(SMALL, start="incumbent", incumbent=PEAK), tmp_path)
    finally:
        engine.close()
    assert result.origin == "published baseline peak_ewma, search added 0 %"
    assert result.search_added == 0.0
    assert result.incumbent is not None
    assert any("keep the incumbent" in sentence for sentence in result.diagnosis)


PEAK = load_balancer.baselines["peak_ewma"].source or ""


def test_a_measured_incumbent_is_reported_beside_the_others(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    result = run(rank_engine(), tmp_path, replace(SMALL, incumbent_scores=(1.0, 1.0)))
    assert result.incumbent is not None
    assert result.incumbent.validation == 1.0
    assert any("no program beats the incumbent" in sentence for sentence in result.diagnosis)


def test_a_budget_of_nothing_evaluates_the_published_policies_alone(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    for name, budget in (("e", Budget(0)), ("s", Budget(40, seconds=0.0))):
        result = run(rank_engine(), tmp_path / name, replace(SMALL, budget=budget))
        assert result.counts == {}
        assert result.winner is not None
        assert result.winner.name != "evolved"
        assert result.stopped == ("evaluations" if name == "e" else "time")


def test_time_runs_out_with_enough_left_for_the_finalists_and_the_run_resumes(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    engine = rank_engine()
    options = replace(SMALL, budget=Budget(40, seconds=42.0), parallel=1)
    result = evolve(
        load_balancer,
        engine,
        options,
        tmp_path / "b",
        clock=lambda: float(sum(engine.calls.values())),  # every evaluation takes a second
    )
    engine.close()
    assert result.stopped == "time"
    assert result.counts["ok"] >= 10
    assert 30 <= result.seconds <= 44
    assert result.winner is not None
    assert read_log(tmp_path / "b" / "log.jsonl")[0][-1]["type"] == "proposal"
    again = run(rank_engine(), tmp_path / "b", replace(SMALL, resume=True))
    assert again.log_hash == run(rank_engine(), tmp_path / "a").log_hash


class Silence:
    """An inbox that nothing comes into; to look into it takes 20 seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def new(self) -> list[str]:
        self.now += 20.0
        return []

    def kept(self, record: object) -> None: ...


def test_time_spent_on_waiting_says_nothing_of_the_finalists(
    tmp_path: Path, rank_engine: type[RankEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gnomon.shadow.search.driver._POLL_S", 0.001)
    inbox = Silence()
    options = Options(Budget(40, seconds=10_000.0), strategy="published", wait=True)
    more = {"authors": Authors(inbox=inbox), "clock": lambda: inbox.now}
    result = run(rank_engine(), tmp_path, options, **more)
    assert result.seconds >= 9_000.0


def test_the_default_interleaves_its_proposers_and_tunes_more_than_one_structure(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    run(rank_engine(), tmp_path, replace(SMALL, budget=Budget(200)))
    records = list(proposals(tmp_path / "log.jsonl"))
    tuned = [record for record in records if record.operator == "constants"]
    crossed = [record for record in records if record.operator == "crossover"]
    assert 0.2 < len(tuned) / len(records) < 0.7
    assert 0.05 < len(crossed) / len(records) < 0.4
    assert len({skeleton(record.source) for record in tuned}) >= 3


def test_control_arms_spend_the_same_budget(tmp_path: Path, rank_engine: type[RankEngine]) -> None:
    for name in sorted(STRATEGIES.keys() - {"published"}):  # which ends after its seeds
        engine = rank_engine()
        result = run(engine, tmp_path / name, replace(SMALL, strategy=name, budget=Budget(60)))
        evaluated = sum(n for outcome, n in result.counts.items() if outcome not in FREE)
        trained = {source for source, split in engine.calls if split == "train"}
        published = len(Space(load_balancer).starts("library"))
        assert evaluated == len(trained) == (published if name == "published" else 60)


def test_settings_that_cannot_be_are_refused(tmp_path: Path, rank_engine: type[RankEngine]) -> None:
    with pytest.raises(ConfigurationError, match="parallel=9 is not within 1 and window=8"):
        Options(parallel=9)
    with pytest.raises(ConfigurationError, match="not negative"):
        Options(budget=Budget(-1))
    with pytest.raises(ConfigurationError, match="unknown strategy 'best'"):
        run(rank_engine(), tmp_path, Options(strategy="best"))
    with pytest.raises(ConfigurationError, match="--incumbent"):
        run(rank_engine(), tmp_path, Options(start="incumbent"))
    with pytest.raises(ConfigurationError, match=r"--seed 3, not 5"):
        run(rank_engine(), tmp_path / "a", SMALL)
        run(rank_engine(), tmp_path / "a", replace(SMALL, seed=5, resume=True))


LAYERS = ("process", "rlimits", "seccomp")


def isolated(engine: RankEngine, *lost: str, times: int = 10**9) -> RankEngine:
    """Have an engine claim layers, and evaluate without some of them the first times."""
    engine.layers = LAYERS
    held = tuple(layer for layer in LAYERS if layer not in lost)
    score = engine.submit

    def submit(source: str, split: Any, trial: Any = None) -> Any:
        told = score(source, split).result()
        layers = held if sum(engine.calls.values()) <= times else LAYERS
        done: Future[Evaluation] = Future()
        done.set_result(replace(told, layers=layers))
        return done

    engine.submit = submit  # type: ignore[method-assign]
    return engine


def test_the_run_says_under_which_layers_it_was_made(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    result = run(isolated(rank_engine()), tmp_path / "a")
    header = read_log(tmp_path / "a" / "log.jsonl")[0][0]
    assert header["config"]["layers"] == list(LAYERS) and result.layers == LAYERS
    assert result.to_json()["layers"] == list(LAYERS)
    assert "isolation: process, rlimits, seccomp" in str(result)


def test_an_evaluation_under_fewer_layers_is_not_believed(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    plain = run(isolated(rank_engine()), tmp_path / "a")
    once = run(isolated(rank_engine(), "seccomp", times=1), tmp_path / "b")
    assert once.log_hash == plain.log_hash  # it was asked for again
    with pytest.raises(SearchError, match="it ran without rlimits, seccomp, which the run began"):
        run(isolated(rank_engine(), "seccomp", "rlimits"), tmp_path / "c")
    scored = [r for r in proposals(tmp_path / "c" / "log.jsonl") if r.outcome is Outcome.OK]
    assert scored == []


def test_a_run_goes_on_under_the_layers_it_began_with(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    run(isolated(rank_engine()), tmp_path / "a")
    with pytest.raises(ConfigurationError, match="another isolation .--isolation"):
        run(rank_engine(), tmp_path / "a", replace(SMALL, resume=True))
