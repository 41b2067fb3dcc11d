"""Invariants of a hook in shadow: asked in the gates and the engine, and told by the table of replays."""

from __future__ import annotations

from pathlib import Path

import pytest

import gnomon
from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk.invariant import Invariant
from gnomon.sdk.rules.file import Suggestion, Suggestions, Support
from gnomon.sdk.rules.score import NearLeast
from gnomon.sdk.runtime import RUNTIME
from gnomon.shadow.evaluation import Status
from gnomon.shadow.gates.case import Case, Target, VerifyOptions
from gnomon.shadow.gates.replay import sampled, validation
from gnomon.shadow.gates.verify import _timed
from gnomon.shadow.isolation.compiled import CompiledEngine, CompiledOptions
from gnomon.shadow.isolation.lockstep import lockstep_zygote
from gnomon.shadow.opening import held_to, opened
from gnomon.shadow.policy import ScorePolicy
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.traces.trace import DecisionTrace

from ..isolation.systems import recorded

PEAK = load_balancer.baselines["peak_ewma"].source or ""
ROUND_ROBIN = load_balancer.baselines["round_robin"].source or ""
NEVER = Invariant("never", lambda summary: False, scope="replay", description="Nothing is right.")
WARNS = (
    Invariant("odd", lambda summary: False, scope="replay", severity="warn"),
    Invariant("idle", lambda items, picked: picked.inflight < 1.0, severity="warn"),
)


@pytest.fixture(scope="module")
def trace() -> DecisionTrace:
    return recorded(40.0, seed=1)


def test_a_hook_s_own_replay_invariant_refuses_and_warnings_are_evidence(
    trace: DecisionTrace, tmp_path: Path
) -> None:
    base = ScorePolicy("incumbent", ROUND_ROBIN, load_balancer)
    invariants = (*load_balancer.invariants, NEVER, *WARNS)
    target = Target("router.pick", load_balancer, base, invariants)
    windows = {"train": trace.window(0, 3), "validation": trace.window(20, 34)}
    simulator, ledger = simulator_for(load_balancer), Ledger(tmp_path / "ledger.db")
    with lockstep_zygote() as zygote:
        case = Case(
            target, PEAK, trace, windows, simulator, zygote, ledger, {}, VerifyOptions()  # type: ignore[arg-type]
        )  # fmt: skip
        case.__dict__["calibrations"] = simulator.draws(trace, 2, 0)
        first = _timed("sampled replay", sampled, case)
        full = _timed("full replay", validation, case)
        assert case.take_warnings() == {}
        case.replays(windows["train"], ROUND_ROBIN)  # another policy than the candidate
        assert case.take_warnings() == {}
    assert full.answer == "failed"
    assert full.summary == "never does not hold over the replay: Nothing is right."
    assert first.evidence["warnings"]["replays"] == {"odd": 1}
    assert full.evidence["warnings"]["replays"]["odd"] >= 2
    some, all_ = (each.evidence["warnings"]["decisions"]["idle"] for each in (first, full))
    assert 0 < some < all_


def test_the_engine_of_the_search_asks_it_too(trace: DecisionTrace) -> None:
    drawn = simulator_for(load_balancer).draws(trace, 1, 0)
    part = {"train": trace.window(0, 4)}
    options = CompiledOptions(workers=1, invariants=(NEVER,))
    with CompiledEngine(load_balancer, part, drawn, options) as engine:
        found = engine.submit(PEAK, "train").result()
    assert found.status is Status.VIOLATION
    assert found.detail == "never: Nothing is right."


SERVICE = """
import gnomon

@gnomon.hook("router.pick", kind=gnomon.load_balancer, items="backends",
             item_features=lambda b: (b.inflight, b.ewma_ms, b.weight))
def pick(request, backends):
    return backends[0]

gnomon.invariant(pick, scope="replay", name="balanced")(lambda s: max(s.picks) < 0.45 * s.decisions)
gnomon.invariant(pick, scope="replay", severity="warn", name="even")(
    lambda s: max(s.picks) < 1.5 * min(s.picks))
"""


def test_the_table_of_replays_says_what_breaks_and_what_warns(
    trace: DecisionTrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "replayed_service"
    (tmp_path / f"{name}.py").write_text(SERVICE)
    (tmp_path / "first.py").write_text("def score(since_picked):\n    return since_picked\n")
    (tmp_path / f"{name}.py").write_text(SERVICE.replace("router.pick", trace.hook))
    trace.window(0, 10).save(tmp_path / "t.npz")
    monkeypatch.setattr(RUNTIME, "hooks", dict(RUNTIME.hooks))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    table = gnomon.replay(
        "t.npz",
        ["first.py", "baseline:round_robin"],
        hook=f"{name}:pick",
        incumbent="recorded",
        replicas=2,
        workers=2,  # processes of their own find the hook's invariants too
    )
    rows = {row.policy: row for row in table.rows}
    assert "balanced" in rows["first.py"].broken and rows["first.py"].warned == ("even",)
    assert rows["round_robin"].broken == () == rows["round_robin"].warned
    assert "breaks balanced" in str(table) and "warned by even" in str(table)


def test_what_was_confirmed_is_a_part_of_the_target(trace: DecisionTrace, tmp_path: Path) -> None:
    rule = Suggestion("near", NearLeast("inflight", 2.0, 4.0), Support(9, 9, 0, 0.1, 0.5))
    open_ones = Suggestion("other", NearLeast("inflight", 1.0, 1.0), Support(9, 9, 0, 0.1, 0.5))
    version = load_balancer.version
    file = Suggestions(trace.hook, "load_balancer", version, "x", "recorded", (rule, open_ones))
    file.confirm(["near"], "ada", "2026-11-27T20:00:00Z").save(tmp_path / "rules.json")
    trace.save(tmp_path / "t.npz")
    found, target = opened(tmp_path / "t.npz", None, "baseline:random", tmp_path / "rules.json")
    own = [each for each in target.invariants if each not in load_balancer.invariants]
    assert [(each.name, each.severity) for each in own] == [("near", "block")]
    hook = target.hook
    again = held_to(target.invariants, load_balancer, hook, tmp_path / "rules.json")
    assert again == target.invariants  # the service loads the same file
    other = (*load_balancer.invariants, Invariant("near", lambda items, picked: True))
    with pytest.raises(gnomon.ConfigurationError, match="has another of that name"):
        held_to(other, load_balancer, hook, tmp_path / "rules.json")
    assert found.digest == trace.digest
