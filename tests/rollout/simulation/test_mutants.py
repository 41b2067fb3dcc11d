"""A simulation that finds nothing could be blind: these guards, taken away, are missed."""

from __future__ import annotations

import pytest

from . import memory
from .mutants import MUTANTS, Mutant, caught, without
from .world import simulate

#: Most are missed in the first few worlds.
_SEEDS = 40


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.guard.replace(" ", "-"))
def test_a_guard_that_is_taken_away_is_missed(mutant: Mutant) -> None:
    with memory.remembered():
        run = caught(mutant, _SEEDS)
    assert run is not None, f"no world of {_SEEDS} misses that {mutant.guard}"


def test_a_guard_comes_back() -> None:
    with memory.remembered():
        before = simulate(3).history
        with without(MUTANTS[0]):
            pass
        assert simulate(3).history == before


def test_a_text_that_is_gone_is_named() -> None:
    gone = Mutant("gone", MUTANTS[0].where, "no such text", "", ())
    with pytest.raises(AssertionError, match="holds 'gone' no more"), without(gone):
        pass
