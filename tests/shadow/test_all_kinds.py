"""One policy decides alike in every tier, on every kind: compiled, plain Python, reference, out of process."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gnomon.policies.registry import kind as kind_named
from gnomon.sdk.errors import CandidateError, LanguageError
from gnomon.sdk.isolation.zygote import Zygote
from gnomon.sdk.kind import Kind
from gnomon.sdk.language import Program, check, chooser
from gnomon.shadow.compiled import compile_score
from gnomon.shadow.isolation.lockstep import LockstepCandidate, lockstep_zygote, run_lockstep
from gnomon.shadow.simulators import Replay, Simulator, simulator_for

from ..language.test_tiers import Writer
from .examples import MOST, example, score_kinds

_COLUMNS = ("time", "outcome", "ok", "action")
_PICK = Callable[[np.ndarray], int]


@st.composite
def policies(draw: st.DrawFn, names: tuple[str, ...]) -> str:
    """A policy over a few of a kind's inputs: loops, branches, edge constants, faults now and then."""
    writer = Writer(draw)
    used = draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))
    lines = ["import math", "K = 0.1 + 0.2", f"def score({', '.join(used)}):"]
    if draw(st.booleans()):
        lines += writer.block(used, 1, " ", False)
    first = draw(st.sampled_from(names[:-1]))
    tail = first if first in used else used[0]
    return "\n".join([*lines, f" return {writer.number(used, 3)} + {tail}", ""])


@functools.cache
def stage(name: str) -> tuple[Kind, Simulator, Any, Any]:
    import tempfile

    kind = kind_named(name)
    simulator = simulator_for(kind)
    with tempfile.TemporaryDirectory() as folder:
        trace, fitted = example(kind, Path(folder))
    return kind, simulator, trace.rows(slice(0, MOST)), fitted


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with lockstep_zygote("process") as clean:
        yield clean


def usable(source: str, kind: Kind) -> Program | None:
    try:
        return check(source, kind.input_names, max_nodes=kind.max_nodes, max_fuel=kind.max_fuel)
    except LanguageError as error:
        assert any(word in error.reason for word in ("fuel", "nested", "large", "nodes")), error
        return None


def asked(name: str, seed: int, pick: _PICK) -> Replay:
    """Replay a stream pick by pick."""
    _, simulator, trace, fitted = stage(name)
    stream = simulator.stream(trace, fitted, seed)
    try:
        rows = next(stream)
        while True:
            rows = stream.send(pick(rows))
    except StopIteration as stop:
        found: Replay = stop.value
        return found


def by_reference(program: Program, kind: Kind) -> _PICK:
    """Pick as the kind says, from scores of the reference interpreter, in words that nothing shares."""

    def pick(rows: np.ndarray) -> int:
        scores = [program.interpret(*row) for row in rows.tolist()]
        if any(math.isnan(score) for score in scores):
            return -1
        best = min(scores) if kind.order == "lowest" else max(scores)
        tied = [index for index, score in enumerate(scores) if score == best]
        noises = [rows[index][-1] for index in tied]
        return tied[noises.index(min(noises))]

    return pick


def same(one: Replay, other: Replay) -> None:
    assert (one.fault, one.members) == (other.fault, other.members)
    for name in _COLUMNS:
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert one.extra.keys() == other.extra.keys()
    for name, values in one.extra.items():
        assert np.array_equal(values, other.extra[name], equal_nan=True), name


def agree(name: str, source: str, seed: int, zygote: Zygote) -> bool:
    """Assert that all tiers decide alike; return whether the policy could be used at all."""
    kind, simulator, trace, fitted = stage(name)
    program = usable(source, kind)
    if program is None:
        return False
    fast = simulator.compiled(trace, fitted, seed, compile_score(program), kind.order)
    choose = chooser(program, kind)
    same(fast, asked(name, seed, lambda rows: choose(rows.tolist())))
    same(fast, asked(name, seed, by_reference(program, kind)))
    with LockstepCandidate(zygote, source, kind) as candidate:
        try:
            (apart,) = run_lockstep(candidate, [simulator.stream(trace, fitted, seed)])
        except CandidateError as stopped:
            assert f"faulted at decision {fast.fault}" in str(stopped)
            return True
    same(fast, apart)
    return True


QUICK = settings(max_examples=14, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", score_kinds())
def test_every_tier_decides_alike(name: str, zygote: Zygote) -> None:
    kind = kind_named(name)
    usable_ones = []

    @QUICK
    @given(source=policies(kind.input_names), seed=st.integers(0, 2**31))
    def hold(source: str, seed: int) -> None:
        usable_ones.append(agree(name, source, seed, zygote))

    hold()
    assert sum(usable_ones) >= len(usable_ones) / 3


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", score_kinds())
def test_every_tier_decides_alike_on_many_policies(name: str, zygote: Zygote) -> None:
    kind = kind_named(name)

    @settings(QUICK, max_examples=600)
    @given(source=policies(kind.input_names), seed=st.integers(0, 2**31))
    def hold(source: str, seed: int) -> None:
        agree(name, source, seed, zygote)

    hold()


@pytest.mark.parametrize("name", score_kinds())
def test_published_policies_decide_alike_too(name: str, zygote: Zygote) -> None:
    kind = kind_named(name)
    sources = [each.source for each in kind.baselines.values() if each.source]
    for index, source in enumerate(sources[:4]):
        assert agree(name, source, index, zygote)


@pytest.mark.parametrize("name", score_kinds())
def test_a_fault_is_at_the_same_decision_in_every_tier(name: str, zygote: Zygote) -> None:
    """A score that faults as soon as an item's own noise is high: somewhere, at no place known before."""
    source = "import math\ndef score(noise):\n return math.sqrt(0.995 - noise)\n"
    faults = set()
    for seed in range(4):
        assert agree(name, source, seed, zygote)
        kind, simulator, trace, fitted = stage(name)
        program = check(source, kind.input_names)
        faults.add(
            simulator.compiled(trace, fitted, seed, compile_score(program), kind.order).fault
        )
    assert max(faults) >= 0 and len(faults) > 1
