"""The gates in worlds that no simulator wrote: equal policies do not pass, a better one does, a wrong model is seen."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gnomon.shadow.fidelity import fidelity
from gnomon.shadow.simulators import simulator_for

from ..conftest import ROOT
from .conftest import PROBING


@pytest.fixture(scope="module")
def settings() -> Iterator[ModuleType]:
    """Return the worlds of the benchmark ``truth``."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield importlib.import_module("worlds.settings")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def jury(settings: ModuleType) -> Any:
    """Return what makes a jury of a recording of a world under an incumbent."""
    judge = importlib.import_module("worlds.judge")

    def made(name: str, incumbent: str, seed: int, seconds: float = 60.0) -> Any:
        setting = settings.SETTINGS[name]
        traffic = setting.world.traffic(seconds, np.random.default_rng((9, seed)))
        return judge.Jury(setting.run(traffic, incumbent).trace(), setting.kind, incumbent)

    return made


def passes(jury: Any, source: str) -> bool:
    """Return whether sampled replay, full replay and holdout pass, whatever fidelity says."""
    jury._shared |= {
        "fidelity": "passed"
    }  # costs a second of each recording, and is asked elsewhere
    return not jury.ask(source).gate


def test_equal_policies_are_not_accepted(settings: ModuleType, jury: Any) -> None:
    asked = accepted = 0
    for seed in range(6):
        for base, equals in settings.EQUALS.items():
            name = "keys, scans" if "resident" in base else "servers, slow spells and bursts"
            one = jury(name, base, seed)
            one.case(base)
            found = [passes(one, source) for source in equals]
            asked, accepted = asked + len(found), accepted + sum(found)
    assert asked == 42
    assert accepted <= 3  # at 2.5 % of independent questions more has probability below 0.03


def test_a_better_policy_is_accepted_and_its_effect_predicted(
    settings: ModuleType, jury: Any
) -> None:
    setting = settings.SETTINGS["servers, steady"]
    better = PROBING  # without the probe it starves a server in some replays
    truth, _ = setting.truth(better).change(setting.truth(settings.LEAST))
    one = jury("servers, steady", settings.LEAST, 1)
    answer = one.ask(better)
    assert one.fidelity == "passed" and answer.gate == ""
    assert answer.effect["low"] <= truth <= answer.effect["high"] < 0.0


def test_fidelity_sees_servers_that_slow_down_with_load(settings: ModuleType, jury: Any) -> None:
    answers = {}
    for name in ("servers, slower the more they serve", "servers, slow spells and bursts"):
        one = jury(name, settings.LEAST, 3)
        case = one.case(settings.LEAST)
        table = fidelity(case.trace, case.target.incumbent, simulator_for(case.kind))
        answers[name] = table.answer
        wrong = {row.metric for row in table.rows if row.answer != "ok"}
        assert wrong <= {
            "busy over quiet"
        }  # the mean, the quantiles and the shares are right in both
    assert list(answers.values()) == ["beyond tolerance", "ok"]


def test_a_window_has_luck_of_its_own(settings: ModuleType, jury: Any) -> None:
    case = jury("servers, steady", settings.RANDOM, 2).case(settings.RANDOM)
    seeds = {case.seed(index, window) for window in case.splits.values() for index in range(8)}
    assert len(seeds) == 24 and not seeds & set(range(1000))
    holdout = case.splits["holdout"]
    again = jury("servers, steady", settings.RANDOM, 2).case(settings.LEAST)
    assert again.seed(3, again.splits["holdout"]) == case.seed(3, holdout)


@pytest.mark.parametrize("name", ["servers, heavy tails", "jobs, heavy tails", "keys, phases"])
def test_a_world_is_the_same_twice_and_serves_everybody(settings: ModuleType, name: str) -> None:
    setting = settings.SETTINGS[name]
    one, two = (
        setting.run(setting.world.traffic(20.0, np.random.default_rng(4)), setting.incumbents[0])
        for _ in range(2)
    )
    assert np.array_equal(one.latency_ms, two.latency_ms)
    assert np.isfinite(one.latency_ms).all() and (one.latency_ms >= 0.0).all()
    assert one.trace().digest == two.trace().digest


@pytest.mark.soak
@pytest.mark.parametrize("sort", ["servers", "jobs", "keys"])
def test_equal_policies_are_equal_in_the_worlds(settings: ModuleType, sort: str) -> None:
    for name, setting in settings.SETTINGS.items():
        for base, equals in settings.EQUALS.items():
            if not name.startswith(sort) or base not in setting.candidates:
                continue
            for source in equals:
                effect, error = setting.truth(source).change(setting.truth(base))
                assert abs(effect) < 4.5 * error, (name, source)
