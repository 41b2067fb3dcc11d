"""Every guard has tests that notice when it is gone: a few of them here, all of them in the soak run."""

from __future__ import annotations

import json
import random
import time

import pytest

from .guards import MUTANTS
from .harness import ROOT, Copy, Mutant, found

_SAMPLE, _SEED = 3, 20
REPORT = ROOT / "build" / "soak" / "mutation.json"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("mutation") / "copy")


def test_every_mutant_can_be_made() -> None:
    """Where a guard's text has changed, the table has to follow it."""
    lost = [f"{m.file}: {m.guard}" for m in MUTANTS if found(m) != 1 or m.old == m.new]
    assert not lost
    names = [mutant.guard for mutant in MUTANTS]
    assert len(names) >= 60 and len(names) == len({*names})


def test_a_mutant_that_changes_nothing_survives(copy: Copy) -> None:
    """So that what is counted as killed below was killed by the missing guard."""
    test = "tests/language/test_grammar.py"
    harmless = Mutant("none", "sdk/language/_text.py", "_TRIES = 4", "_TRIES = 5", (test,))
    verdict = copy.tried(harmless, harmless.tests)
    assert not verdict.killed, verdict.said


@pytest.mark.parametrize(
    "mutant", random.Random(_SEED).sample(MUTANTS, _SAMPLE), ids=lambda mutant: mutant.guard
)
def test_a_guard_that_is_taken_away_is_missed(mutant: Mutant, copy: Copy) -> None:
    verdict = copy.tried(mutant, mutant.tests)
    assert verdict.killed, (
        f"{mutant.file} without {mutant.guard!r}: nothing in {mutant.tests} fails"
    )


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_no_guard_can_be_taken_away_unnoticed(copy: Copy) -> None:
    """All of them, one after the other; the report is kept under ``build/soak``."""
    begin, survivors = time.monotonic(), []
    for mutant in MUTANTS:
        if not copy.tried(mutant, mutant.tests).killed:
            survivors.append(mutant.guard)
    tests = tuple(dict.fromkeys(test for mutant in MUTANTS for test in mutant.tests))
    whole = copy.tried(None, tests)
    report = {
        "mutants": len(MUTANTS),
        "killed": len(MUTANTS) - len(survivors),
        "survivors": survivors,
        "seconds": round(time.monotonic() - begin, 1),
    }
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=1) + "\n")
    assert not whole.killed, whole.said
    assert not survivors, report
