"""An evaluator that was caught beyond a proven bound counts for nothing, until a person or new code says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gnomon.policies import registry
from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk.errors import ConfigurationError, TrustError
from gnomon.shadow.evaluation import Evaluation, Split, Status, Trial
from gnomon.shadow.gates import replay as gate_replay
from gnomon.shadow.gates.case import Case, VerifyOptions
from gnomon.shadow.gates.evaluator import (
    QUARANTINED,
    RELEASED,
    Beyond,
    Evaluator,
    beyond,
    quarantine,
    quarantines,
    release,
    require_trusted,
    simulator_digest,
    standing,
)
from gnomon.shadow.gates.verify import verify
from gnomon.shadow.isolation.compiled import CompiledOptions
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.evaluating.pool import Bounds
from gnomon.shadow.search.records import Budget
from gnomon.shadow.search.wiring import Arena, search
from gnomon.shadow.simulators import register_simulator, simulator_for
from gnomon.shadow.simulators.custom import FunctionSimulator
from gnomon.shadow.simulators.load_balancer.simulator import LoadBalancerSimulator
from gnomon.shadow.traces.trace import DecisionTrace

from .conftest import PEAK, target

Make = Callable[..., Case]
OPTIONS = VerifyOptions(examples=20, clock=lambda: 5)
AT = Beyond(1.0, 2.0, PEAK, "t", "w", "ms")


class Generous(LoadBalancerSimulator):
    """Its bound lies above what the incumbent reaches, so that whatever wins is beyond it."""

    def bound(self, trace: Any, calibration: Any, seed: int) -> float:
        return 1e6


@pytest.fixture
def broken() -> Any:
    """Have the kind simulated by one whose bound and scores contradict each other."""
    before = simulator_for(load_balancer)
    register_simulator(Generous())
    yield simulator_for(load_balancer)
    register_simulator(before)


def mine(simulator: Any = None) -> Evaluator:
    return Evaluator.of("router.pick", load_balancer, simulator or simulator_for(load_balancer))


def test_an_evaluator_is_its_hook_kind_version_and_code() -> None:
    base = mine()
    assert base == mine(LoadBalancerSimulator()) and base.digest == mine().digest
    others = [
        Evaluator.of("other", load_balancer, simulator_for(load_balancer)),
        Evaluator.of("router.pick", replace(load_balancer, version=99), LoadBalancerSimulator()),
        mine(Generous()),
    ]
    assert len({base.digest, *(each.digest for each in others)}) == 4


@pytest.mark.parametrize(
    "name", ["cache", "scheduler", "llm_router", "llm_scheduler", "expert_placement"]
)
def test_every_kind_has_an_identity_of_its_own(name: str) -> None:
    kind = registry.kind(name)
    digest = simulator_digest(simulator_for(kind))
    assert digest == simulator_digest(type(simulator_for(kind))())
    assert digest != simulator_digest(LoadBalancerSimulator())


def test_a_changed_line_of_a_simulator_is_another_evaluator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    def loaded(constant: float) -> Any:
        path = tmp_path / "mine.py"
        path.write_text(
            "from gnomon.shadow.simulators.load_balancer.simulator import LoadBalancerSimulator\n"
            f"class Mine(LoadBalancerSimulator):\n    scale = {constant}\n"
        )
        spec = importlib.util.spec_from_file_location("mine", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(__import__("sys").modules, "mine", module)
        spec.loader.exec_module(module)
        return simulator_digest(module.Mine())

    assert loaded(1.0) == loaded(1.0) != loaded(2.0)


def test_a_simulator_of_functions_is_known_by_their_code() -> None:
    def made(factor: float) -> FunctionSimulator:
        def world(trace: Any, values: Any, luck: Any) -> Any:
            yield factor

        parts = {"compiled": None, "incumbent": "recorded", "draw": lambda t, r: factor}
        return FunctionSimulator(load_balancer, world, lambda trace: {}, parts)

    assert simulator_digest(made(1.0)) == simulator_digest(made(1.0))
    assert simulator_digest(made(1.0)) != simulator_digest(made(2.0))


def test_quarantine_stands_until_a_person_releases_it(ledger: Ledger) -> None:
    one, two = mine(), mine(Generous())
    quarantine(ledger, one, AT, "ann")
    quarantine(ledger, one, AT, "bob")
    assert len(ledger.list(kind=QUARANTINED)) == 1
    assert standing(ledger, two.digest) is None
    with pytest.raises(TrustError, match=r"verdict x rests on evaluator .*a mean of 1 ms beyond"):
        require_trusted(ledger, one.digest, "verdict x")
    ended = release(ledger, one.digest[:8], "cy", "the bound was wrong")
    assert (ended.released_by, ended.reason, ended.stands) == ("cy", "the bound was wrong", False)
    require_trusted(ledger, one.digest, "verdict x")
    # caught again, it is set aside again
    quarantine(ledger, one, AT, "ann")
    assert [each.stands for each in quarantines(ledger)] == [False, True]
    assert [entry.kind for entry in ledger.list(kind="evaluator")] == [
        QUARANTINED, RELEASED, QUARANTINED,
    ]  # fmt: skip
    assert ledger.explain(one.digest)[0].body["candidate"]


def test_two_that_catch_it_at_once_are_released_together(ledger: Ledger) -> None:
    for actor in ("ann", "bob"):
        ledger.append(QUARANTINED, actor, mine().digest, {"summary": "s", "hook": "h"})
    release(ledger, mine().digest, "cy", "why")
    assert standing(ledger, mine().digest) is None


@pytest.mark.parametrize(
    ("digest", "by", "reason"),
    [("short", "cy", "why"), ("0" * 64, "cy", "why"), ("", "cy", "why"), (None, " ", "why"), (None, "cy", "")],
)  # fmt: skip
def test_a_release_names_one_evaluator_a_person_and_a_reason(
    ledger: Ledger, digest: str | None, by: str, reason: str
) -> None:
    quarantine(ledger, mine(), AT, "ann")
    with pytest.raises(ConfigurationError, match="names 0 evaluators|needs a name and a reason"):
        release(ledger, mine().digest if digest is None else digest, by, reason)
    assert standing(ledger, mine().digest) is not None


def test_sums_of_the_same_numbers_are_not_beyond() -> None:
    assert not beyond(1.0 - 1e-12, 1.0) and beyond(1.0 - 1e-6, 1.0)
    assert not beyond(-1e9, float("-inf")) and not beyond(0.0, float("nan"))


def test_a_caught_evaluator_stops_every_later_verification(
    trace: DecisionTrace, ledger: Ledger, broken: Any
) -> None:
    first = verify(trace, PEAK, target(), ledger=ledger, options=OPTIONS)
    assert (first.decision, first.reason) == ("refused", "evaluator")
    assert "not to blame" in first.summary
    (entry,) = ledger.list(kind=QUARANTINED)
    assert entry.subject == first.evaluator and entry.actor == "verify"
    assert entry.body["candidate"] == first.source_digest
    assert entry.body["bound"] == 1e6 and entry.body["mean"] < 1e3
    openings = len(ledger.list(kind="holdout"))
    again = verify(trace, PEAK, target(), ledger=ledger, options=OPTIONS)
    assert (again.decision, again.reason) == ("inconclusive", "evaluator")
    assert [gate.name for gate in again.gates][-1] == "fidelity"
    assert "replays" not in again.gates[-1].evidence["ran"]
    assert len(ledger.list(kind="holdout")) == openings
    assert "gnomon quarantine release" in again.summary


def test_one_that_is_caught_meanwhile_ends_at_the_bound(make: Make) -> None:
    case = make(PEAK)
    gate_replay.holdout(case)
    quarantine(case.ledger, case.evaluator, AT, "another")
    result = gate_replay.bound(case)
    assert result.answer == "inconclusive" and result.evidence["blame"] == "evaluator"


def test_what_a_verdict_rests_on_may_be_caught_later(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gnomon import api
    from gnomon.sdk import keys

    from .test_bundling import VERDICT

    verdict = replace(VERDICT, evaluator=mine().digest).save(tmp_path / "v.json")
    verdict.record(ledger, "me")
    keys.save(keys.generate(), tmp_path, "publisher", "publisher")
    keys.save(keys.generate(), tmp_path, "rollout", "rollout")
    ship = {"publisher_key": tmp_path / "publisher.pem", "ledger": ledger.path}
    quarantine(ledger, mine(), AT, "another")
    with pytest.raises(TrustError, match="in quarantine"):
        api.ship(verdict, "127.0.0.1:1", override="whatever it says", **ship)  # type: ignore[arg-type]
    release(ledger, mine().digest, "cy", "looked into it")
    monkeypatch.setattr("gnomon.shadow.bundling.bundle_for", _reached)
    with pytest.raises(_Reached):
        api.ship(verdict, "127.0.0.1:1", **ship)  # type: ignore[arg-type]


class _Reached(Exception):
    pass


def _reached(*_: Any, **__: Any) -> Any:
    raise _Reached


class _Engine:
    """Gives every program a score by its length; and one of them an impossible one."""

    layers: tuple[str, ...] = ()

    def __init__(self, cheat: str) -> None:
        self.cheat = cheat

    def submit(self, source: str, split: Split, trial: Trial | None = None) -> Future[Evaluation]:
        done: Future[Evaluation] = Future()
        score = 0.25 if self.cheat in source else 10.0 + len(source) / 100.0
        done.set_result(Evaluation(Status.OK, score))
        return done

    def close(self) -> None:
        pass


def test_a_score_beyond_the_bound_never_leads_a_search(tmp_path: Path) -> None:
    caught: list[Any] = []
    options = Options(budget=Budget(12), parallel=1)
    honest = evolve(load_balancer, _Engine("nothing"), options, tmp_path / "a")
    cheat = "ewma_ms"
    told = evolve(
        load_balancer,
        _Engine(cheat),
        options,
        tmp_path / "b",
        bounds=Bounds(lambda _: 1.0, lambda *at: caught.append(at)),
    )
    assert caught and all(cheat in source for source, *_ in caught)
    assert {(score, limit) for *_, score, limit in caught} == {(0.25, 1.0)}
    assert told.counts["evaluator_error"] > 0 and "evaluator_error" not in honest.counts
    assert told.winner is not None and cheat not in told.winner.source
    assert all(not finalist.validation < 1.0 for finalist in told.finalists)


def test_a_search_sets_its_evaluator_aside_and_does_not_finish(
    trace: DecisionTrace, tmp_path: Path, broken: Any
) -> None:
    path, folder = tmp_path / "ledger.db", tmp_path / "run"
    arena = Arena.of(load_balancer, trace, CompiledOptions(workers=1))
    options = Options(budget=Budget(1), parallel=1, finalists=1, start="weak", strategy="seeds")
    with pytest.raises(TrustError, match="this search rests on evaluator"):
        search(arena, options, folder, ledger=path, actor="ann")
    assert not (folder / "best.py").exists() and (folder / "log.jsonl").exists()
    ledger = Ledger(path)
    (entry,) = ledger.list(kind=QUARANTINED)
    assert (entry.actor, entry.body["window"]) == ("ann", arena.windows["train"].digest)
    with pytest.raises(TrustError, match="this search rests on evaluator"):
        search(arena, options, tmp_path / "other", ledger=path)
    assert not (tmp_path / "other").exists()
    ledger.close()


def test_quarantine_on_the_command_line(ledger: Ledger) -> None:
    from typer.testing import CliRunner

    from gnomon.cli import app

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["quarantine", *words, "--ledger", str(ledger.path)])

    assert "ever in quarantine" in run("list").stdout
    quarantine(ledger, mine(), AT, "ann")
    listed = run("list")
    assert listed.exit_code == 1 and "in quarantine" in listed.stdout
    assert json.loads(run("list", "--json").stdout)[0]["stands"] is True
    assert run("release", "00000000", "--by", "cy", "--reason", "why").exit_code == 2
    done = run("release", mine().digest[:16], "--by", "cy", "--reason", "bound fixed")
    assert done.exit_code == 0 and "by cy: bound fixed" in done.stdout
    after = run("list")
    assert after.exit_code == 0 and "released by cy: bound fixed" in after.stdout


def test_a_tampered_ledger_releases_nothing(ledger: Ledger) -> None:
    import sqlite3

    quarantine(ledger, mine(), AT, "ann")
    with sqlite3.connect(ledger.path) as raw:
        raw.execute("drop trigger entries_no_update")
        raw.execute("update entries set actor = 'x'")
    with pytest.raises(TrustError, match="does not hold"):
        release(ledger, mine().digest, "cy", "why")
