"""Engines around engines: a memory that answers alike, and jobs for any executor; nothing of ours is blamed."""

from __future__ import annotations

import json
import math
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import ConfigurationError, SearchError
from gnomon.shadow.evaluation import Engine, Evaluation, Split, Status, Trial
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.evaluating.cached import CachedEngine
from gnomon.shadow.search.evaluating.executor import ExecutorEngine, Recipe
from gnomon.shadow.search.records import Budget

if TYPE_CHECKING:
    from .conftest import RankEngine

SMALL = Options(budget=Budget(40), seed=3)
SUBJECT = {"hook": "router.pick", "trace": "t", "calibrations": "c"}
SCORES = {"a": (3.0, 5.0), "b": (1.0, 2.0), "c": (9.0, 1.0)}


class Two:
    """An engine of two replays with known means; stops after the first when it may."""

    layers = ("rlimits",)

    def __init__(self, failing: Callable[[str, int], Status | None] = lambda _s, _n: None) -> None:
        self.calls: Counter[str] = Counter()
        self._failing = failing

    def submit(self, source: str, split: Split, trial: Trial | None = None) -> Future[Evaluation]:
        self.calls[source] += 1
        done: Future[Evaluation] = Future()
        status = self._failing(source, self.calls[source])
        done.set_result(Evaluation(status) if status else of(source, trial or Trial()))
        return done

    def close(self) -> None:
        """Have nothing to free."""


def of(source: str, trial: Trial) -> Evaluation:
    if source == "no":
        return Evaluation(Status.REJECTED, detail="outside", layers=Two.layers)
    if source == "bad":
        return Evaluation(Status.VIOLATION, detail="broken", layers=Two.layers)
    first, second = SCORES[source]
    if trial.ends(0, first, (first, first)):
        certain = (("at_least", first), ("replays_left", 1.0))
        return Evaluation(Status.STOPPED, metrics=certain, layers=Two.layers)
    worst = max(first, second)
    return Evaluation(Status.OK, worst, (worst, worst), layers=Two.layers)


limits = st.sampled_from([0.5, 1.0, 1.5, 2.5, 4.0, 5.0, math.inf])
trials = st.none() | st.builds(
    Trial, bar=limits, first=st.sampled_from([(), (0,)]), first_bar=limits
)
jobs = st.tuples(st.sampled_from([*SCORES, "no", "bad"]), trials)


@given(st.lists(jobs, max_size=30))
def test_a_memory_answers_just_as_its_engine_would(asked: list[tuple[str, Trial | None]]) -> None:
    engine = Two()
    memory = CachedEngine(engine)
    for source, trial in asked:
        got = memory.submit(source, "train", trial).result()
        assert repr(got) == repr(of(source, trial or Trial()))  # NaN equals nothing
    assert memory.asked - memory.shared == sum(engine.calls.values())
    assert all(
        engine.calls[source] <= len({t for s, t in asked if s == source}) for source, _ in asked
    )


@pytest.mark.parametrize(
    "status",
    [Status.EVALUATOR_ERROR, Status.TIMEOUT, Status.DIED, Status.OK],  # the last one without layers
)
def test_what_may_end_otherwise_is_never_remembered(status: Status) -> None:
    memory = CachedEngine(Two(lambda _source, time: status if time < 3 else None))
    found = [memory.submit("a", "train").result() for _ in range(4)]
    assert [each.status for each in found] == [status, status, Status.OK, Status.OK]
    assert [each.layers for each in found] == [(), (), Two.layers, Two.layers]
    assert memory.shared == 1


def test_splits_are_told_apart_and_forgetting_forgets() -> None:
    engine = Two()
    memory = CachedEngine(engine)
    for split in ("train", "validation", "train"):
        memory.submit("a", split)  # type: ignore[arg-type]
    assert engine.calls["a"] == 2
    memory.close()
    assert memory.submit("a", "train").result().score == 5.0
    assert engine.calls["a"] == 3


def test_an_evaluation_under_way_is_shared() -> None:
    going, entered = threading.Event(), threading.Event()

    class Waiting(Two):
        def submit(
            self, source: str, split: Split, trial: Trial | None = None
        ) -> Future[Evaluation]:
            self.calls[source] += 1
            return pool.submit(self._waited, source)

        def _waited(self, source: str) -> Evaluation:
            entered.set()
            going.wait(30)
            return of(source, Trial())

    with ThreadPoolExecutor(1) as pool:
        engine = Waiting()
        memory = CachedEngine(engine)
        futures = [memory.submit("a", "train") for _ in range(3)]
        assert entered.wait(30) and not any(future.done() for future in futures)
        assert futures[1].cancel()  # one that gives up takes nothing from the others
        going.set()
        assert futures[0].result(30).score == futures[2].result(30).score == 5.0
    assert engine.calls["a"] == 1


def test_an_engine_that_raises_raises_through_the_memory_and_is_asked_again() -> None:
    class Raising(Two):
        def submit(
            self, source: str, split: Split, trial: Trial | None = None
        ) -> Future[Evaluation]:
            if self.calls[source]:
                return super().submit(source, split, trial)
            self.calls[source] += 1
            done: Future[Evaluation] = Future()
            done.set_exception(OSError(28, "No space left on device"))
            return done

    memory = CachedEngine(Raising())
    with pytest.raises(OSError, match="No space"):
        memory.submit("a", "train").result()
    assert memory.submit("a", "train").result().score == 5.0


def test_runs_that_share_a_memory_end_as_they_would_alone(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    alone, within = rank_engine(), rank_engine()
    memory = CachedEngine(within)
    for strategy in ("evolve", "independent"):
        options = replace(SMALL, strategy=strategy)
        one = evolve(load_balancer, alone, options, tmp_path / f"{strategy}-alone")
        other = evolve(load_balancer, memory, options, tmp_path / strategy)
        assert one.log_hash == other.log_hash
    assert memory.shared > 10  # the seeds at least
    assert set(within.calls.values()) == {1}
    alone.close()
    within.close()


# --- an executor --------------------------------------------------------------------------------------


class Flaky(Executor):
    """Runs jobs at once, and does to them what a cluster may: a list of misfortunes, one per job."""

    def __init__(self, *misfortunes: str) -> None:
        self.left = list(misfortunes)
        self.jobs: list[tuple[Any, ...]] = []

    def submit(self, work: Callable[..., Any], /, *given: Any, **_: Any) -> Future[Any]:
        self.jobs.append(given)
        happens = self.left.pop(0) if self.left else ""
        done: Future[Any] = Future()
        if happens == "shut down":
            raise RuntimeError("cannot schedule new futures after shutdown")
        if happens == "out of reach":
            raise OSError("timed out trying to connect")
        if happens == "lost":
            done.set_exception(BrokenExecutor("a worker was terminated abruptly"))
        elif happens == "cancelled":
            done.cancel()
            done.set_running_or_notify_cancel()
        elif happens:
            done.set_result(happens)
        else:
            done.set_result(work(*given))
        return done


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A module that a worker imports by name; what it makes and how often."""
    said: dict[str, Any] = {"engine": Two(), "subject": SUBJECT, "made": 0}

    def make(settings: Mapping[str, Any]) -> tuple[Engine, dict[str, str]]:
        said["made"] += 1
        if settings.get("broken"):
            raise ConfigurationError("no trace there")
        return said["engine"], said["subject"]

    module = ModuleType("made_elsewhere")
    module.make = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_elsewhere", module)
    yield said


def recipe(name: str, **settings: Any) -> Recipe:
    """A recipe of this test's own, as workers keep what they made by its text."""
    return Recipe("made_elsewhere:make", {"name": name, **settings})


def test_evaluations_come_back_whole_and_workers_make_one_engine(maker: dict[str, Any]) -> None:
    with ThreadPoolExecutor(3) as pool:
        engine = ExecutorEngine(pool, recipe("whole"), SUBJECT)
        assert engine.layers == ("rlimits",) and engine.subject == SUBJECT
        asked = [(s, t) for s in (*SCORES, "no", "bad") for t in (None, Trial(2.5), Trial(9.5))]
        futures = [engine.submit(source, "train", trial) for source, trial in asked]
        for (source, trial), future in zip(asked, futures, strict=True):
            assert repr(future.result(30)) == repr(of(source, trial or Trial()))
        engine.close()
        assert pool.submit(int).result() == 0  # the caller's, and still open
    assert maker["made"] == 1


@pytest.mark.parametrize(
    ("misfortune", "said"),
    [
        ("lost", "BrokenExecutor"),
        ("cancelled", "CancelledError"),
        ("shut down", "after shutdown"),
        ("{", "JSONDecodeError"),
        ("[]", "AttributeError"),
        ("out of reach", "OSError"),
        (json.dumps({"status": "splendid", "metrics": []}), "ValueError"),
        (json.dumps({"status": "ok", "score": "low", "metrics": []}), "ValueError"),
        (json.dumps({"status": "ok", "score": 0.1, "segments": [[]], "metrics": []}), "TypeError"),
        (
            json.dumps({"status": "ok", "score": 0.1, "segments": [], "metrics": [], "sure": True}),
            "TypeError",
        ),
    ],
)
def test_what_is_lost_or_garbled_is_our_own_fault_and_good_again(
    maker: dict[str, Any], misfortune: str, said: str
) -> None:
    executor = Flaky("", misfortune)
    engine = ExecutorEngine(executor, recipe("flaky"))
    lost = engine.submit("a", "train").result()
    assert lost.status is Status.EVALUATOR_ERROR and said in lost.detail
    assert engine.submit("a", "train").result().score == 5.0


def test_what_travels_is_text(maker: dict[str, Any]) -> None:
    executor = Flaky()
    ExecutorEngine(executor, recipe("text")).submit("a", "train", Trial(1.0, (0,), 2.0, (3.0,)))
    assert all(isinstance(each, str) for job in executor.jobs for each in job)
    assert json.loads(executor.jobs[1][1])["trial"]["leaders"] == [3.0]


def test_workers_of_another_trace_are_refused(maker: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="give them the same trace"):
        ExecutorEngine(Flaky(), recipe("other"), SUBJECT | {"trace": "u"})
    engine = ExecutorEngine(Flaky(), recipe("later"), SUBJECT)
    engine.subject = SUBJECT | {"trace": "u"}
    late = engine.submit("a", "train").result()
    assert late.status is Status.EVALUATOR_ERROR and "another trace" in late.detail


@pytest.mark.parametrize("happens", ["lost", "{", '{"layers": []}'])
def test_workers_that_cannot_evaluate_are_told_at_once(maker: dict[str, Any], happens: str) -> None:
    with pytest.raises(SearchError, match="see that they have this Gnomon"):
        ExecutorEngine(Flaky(happens), recipe("mute"))
    with pytest.raises(SearchError, match="no trace there"):
        ExecutorEngine(Flaky(), recipe("broken", broken=True))


def test_a_search_over_a_shaky_executor_ends_in_the_same_log(
    tmp_path: Path, maker: dict[str, Any], rank_engine: type[RankEngine]
) -> None:
    maker["engine"] = rank_engine()
    calm = ExecutorEngine(Flaky(), recipe("calm"))
    plain = evolve(load_balancer, calm, SMALL, tmp_path / "calm")
    shaky = ExecutorEngine(Flaky("", "", "lost", "", "{", "", "shut down"), recipe("calm"))
    shaken = evolve(load_balancer, shaky, SMALL, tmp_path / "shaky")
    assert plain.log_hash == shaken.log_hash and plain.winner is not None
    maker["engine"].close()
