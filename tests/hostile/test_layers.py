"""Every attack of the corpus is stopped, by the layer that is named, and by the others that are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.isolation.zygote import CandidateStopped
from gnomon.shadow.evaluation import Status
from gnomon.shadow.gates import replay as gate_replay
from gnomon.shadow.gates import verify as gates
from gnomon.shadow.gates.behaviour import budget, language, stopped
from gnomon.shadow.gates.case import VerifyOptions
from gnomon.shadow.gates.invariants import invariants
from gnomon.shadow.isolation import lockstep as lockstep_host
from gnomon.shadow.isolation.lockstep import LockstepCandidate, lockstep_zygote

from . import runner, table
from .attack import LAYERS, Attack
from .corpus import CORPUS
from .frame_attacks import FRAME
from .gate_attacks import GATES
from .language_attacks import LANGUAGE
from .runner import Ground
from .service import asked_in_service
from .service_attacks import ANSWER, DELIVERY


def _named(attack: Attack) -> str:
    return attack.name


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with Ground() as ground:
        yield ground


def test_the_corpus_is_large_and_says_what_it_means() -> None:
    names = [attack.name for attack in CORPUS]
    assert len(names) > 300 and len(names) == len({*names})
    for attack in CORPUS:
        assert {attack.stopped_by, *attack.also} <= LAYERS.keys(), attack.name
        assert attack.stopped_by not in attack.also
    used = {layer for attack in CORPUS for layer in (attack.stopped_by, *attack.also)}
    assert used >= LAYERS.keys() - {"fidelity", "no_dump"}


# the language check, once more


@pytest.fixture(scope="module")
def lockstep() -> Iterator[Any]:
    with lockstep_zygote() as zygote:
        yield zygote


@pytest.mark.parametrize("attack", LANGUAGE, ids=_named)
def test_the_other_side_checks_too(lockstep: Any, attack: Attack) -> None:
    with pytest.raises(CandidateStopped) as refused:
        LockstepCandidate(lockstep, attack.source, load_balancer)
    assert refused.value.status is Status.REJECTED


# the gates


@pytest.fixture(scope="module")
def calibrations(ground: Ground) -> Any:
    # a worst of three instead of eight: the whole verifications of the soak run draw all of them
    return runner.simulator_for(load_balancer).draws(ground.trace, 3, 0)


_ASKED = {
    "invariants": invariants,
    "sampled replay": gate_replay.sampled,
    "full replay": gate_replay.validation,
    "holdout": lambda case: gate_replay.holdout(case)[0],
    "budget": budget,
}


@pytest.mark.parametrize("attack", GATES, ids=_named)
def test_the_gate_that_is_named_refuses_and_none_before_it(
    ground: Ground, calibrations: Any, attack: Attack
) -> None:
    options = VerifyOptions()
    target = ground.target(attack)
    with gates._case(ground.trace, attack.source, target, ground.ledger, {}, options) as case:
        case.__dict__["calibrations"] = calibrations
        assert language(case).passed
        for name, ask in _ASKED.items():
            if name == "budget" and attack.stopped_by != "budget":
                break
            try:
                result = ask(case)
            except CandidateStopped as error:
                result = stopped(name, error)
            if not result.passed:
                assert (result.name, result.answer) == (attack.stopped_by, "failed"), result.summary
                return
    pytest.fail("no gate refused it")


@pytest.mark.parametrize(
    "attack", [each for each in GATES if {*each.also} & _ASKED.keys()], ids=_named
)
def test_without_that_gate_the_next_that_is_named_refuses(
    ground: Ground, calibrations: Any, attack: Attack
) -> None:
    target = ground.target(attack)
    with gates._case(
        ground.trace, attack.source, target, ground.ledger, {}, VerifyOptions()
    ) as case:
        case.__dict__["calibrations"] = calibrations
        assert language(case).passed
        for name in {*attack.also} & _ASKED.keys():
            assert not _ASKED[name](case).passed


_STATES = [
    [(0.0, 0.0), (0.0, 0.0), (0.0, 0.0)],
    [(0.0, 12.5), (12.0, 30.5), (3.0, 7.25)],
    [(0.0, 2.0), (40.0, 3.0), (15.0, 1.0)],
    [(0.0, 12.5), (90.0, 0.5), (50.0, 99.75)],
]


@pytest.mark.parametrize("attack", [each for each in GATES if "guard" in each.also], ids=_named)
def test_a_service_is_guarded_against_it_too(ground: Ground, attack: Attack) -> None:
    """It never gives an unlawful item, and what faults is taken back."""
    invariant = runner.ORDERLY if attack.under == "orderly" else None
    picked, details = asked_in_service(attack.source, _STATES * 8, invariant)
    assert any(detail.startswith(("fault", "violation:orderly", "breaker")) for detail in details)
    for state, index in zip(_STATES * 8, picked, strict=True):
        assert invariant is None or state[index][0] <= min(each[0] for each in state) + 10


@pytest.mark.parametrize("name", ["a lone surrogate", "a NUL", "an empty text", "deep nesting"])
def test_a_text_that_is_none_ends_in_a_verdict(ground: Ground, name: str) -> None:
    attack = next(each for each in LANGUAGE if each.name == name)
    assert ground.judged(attack).layer == "language"


@pytest.mark.soak
@pytest.mark.parametrize("attack", GATES, ids=_named)
def test_a_whole_verification_refuses_it(ground: Ground, attack: Attack) -> None:
    outcome = ground.judged(attack)
    assert outcome.layer == attack.stopped_by, outcome


def test_a_fork_that_answers_differently_each_time_is_found_by_determinism(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real clean process replaced by one whose forks were taken over."""
    attack = next(each for each in FRAME if each.stopped_by == "determinism")
    batch = np.ones((2, 3, 5))
    with LockstepCandidate(ground.taken_over, attack.source, load_balancer) as candidate:
        assert candidate.choose(batch).tolist() != candidate.choose(batch).tolist()
    honest = lockstep_host.LockstepCandidate.__init__

    def taken_over(self: LockstepCandidate, _zygote: Any, _source: str, kind: Any) -> None:
        honest(self, ground.taken_over, attack.source, kind)

    monkeypatch.setattr(lockstep_host.LockstepCandidate, "__init__", taken_over)
    outcome = ground.judged(replace(attack, source=runner.ROUND_ROBIN))
    assert outcome.layer == "determinism", outcome


# forks that were taken over, services


@pytest.mark.parametrize("attack", FRAME, ids=_named)
def test_a_fork_that_was_taken_over_can_only_decide_badly(ground: Ground, attack: Attack) -> None:
    outcome = ground.lied_to(attack)
    assert (outcome.layer, outcome.loot) == (attack.stopped_by, ""), outcome


@pytest.mark.parametrize("attack", ANSWER, ids=_named)
def test_the_service_gets_the_incumbents_item_and_then_is_rid_of_it(
    ground: Ground, attack: Attack
) -> None:
    outcome = ground.run(attack)
    assert (outcome.layer, outcome.loot) == (attack.stopped_by, ""), outcome


@pytest.mark.parametrize("attack", DELIVERY, ids=_named)
def test_a_service_refuses_what_is_sent_to_it(ground: Ground, attack: Attack) -> None:
    outcome = ground.run(attack)
    assert (outcome.layer, outcome.loot) == (attack.stopped_by, ""), outcome


@pytest.mark.soak
def test_nothing_in_the_whole_corpus_succeeds() -> None:
    assert runner.successes() == []


def test_the_page_shows_the_corpus() -> None:
    assert table.PAGE.read_text("utf-8") == table.page(), (
        "write it anew: PYTHONPATH=. python -m tests.hostile.table"
    )
