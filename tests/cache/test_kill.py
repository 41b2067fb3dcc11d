"""A cache whose policies were stopped, or taken back, by whatever way it comes to be asked again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import gnomon
from gnomon.sdk.limits import Limits
from gnomon.testing import recording

from .common import cache, fetch, install, program, switchback

#: The newcomer has the lowest score, so that nothing is ever taken in once the cache is full.
CLOSED = "def score(resident):\n    return resident\n"
FAULTY = "def score(size):\n    return 1.0 / (size - size)\n"


@pytest.fixture(autouse=True)
def lifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    gnomon.unkill()


def open_to_newcomers(of: Any, key: Any) -> bool:
    """Return whether something new is taken in, as the incumbent does and CLOSED never."""
    of[key] = key
    return key in of


def test_it_is_under_its_incumbent_from_the_next_operation_on_and_again_after() -> None:
    with recording():
        thumbnails = cache(2, "kill.thumbnails")
        install(thumbnails, "full", candidate=program(CLOSED))
        assert [open_to_newcomers(thumbnails, key) for key in "abc"] == [True, True, False]
        gnomon.kill(thumbnails, reason="x")
        assert open_to_newcomers(thumbnails, "d")
        assert len(thumbnails) <= 2
        install(thumbnails, "full", 2, candidate=program(CLOSED))
        assert open_to_newcomers(thumbnails, "e")
        decided = thumbnails.hook.counters["decisions"]
        gnomon.unkill(thumbnails)
        taken = [open_to_newcomers(thumbnails, key) for key in "fgh"]
        assert taken.count(True) < 3
        assert thumbnails.hook.counters["decisions"] > decided


@pytest.mark.parametrize("phase", ["canary", "shadow"])
def test_no_program_is_asked_in_any_phase(phase: str) -> None:
    with recording() as seen:
        images = cache(4, "kill.images")
        gnomon.kill("kill.images", reason="x")
        given = {"switchback": switchback(1.0)} if phase == "canary" else {"shadow_rate": 1.0}
        install(images, phase, candidate=program(CLOSED), stable=program(CLOSED), **given)
        for key in range(200):
            fetch(images, key % 9)
        counters = images.hook.counters
        assert counters["decisions"] == counters["shadow_decisions"] == 0
        assert images.hook.killed == "killed (call): x"
        assert not images.hook.new_measure().reports()
        assert seen.workload


def test_a_cache_that_is_made_later_is_killed_too() -> None:
    with recording():
        gnomon.kill(reason="x")
        later = cache(2, "kill.later")
        install(later, "full", candidate=program(CLOSED))
        assert all(open_to_newcomers(later, key) for key in "abcd")


def taken_back(name: str, **given: Any) -> Any:
    of = cache(2, name, **given)
    install(of, "full", candidate=program(FAULTY))
    for key in range(10):
        of[key] = key
    assert of.hook.breaker.startswith("candidate: 3 failures")
    return of


def test_a_breaker_holds_over_a_fork_a_kill_and_a_cache_of_the_same_name() -> None:
    with recording():
        of = taken_back("kill.broken")
        asked = of.hook.counters["decisions"]
        child = os.fork()
        if child == 0:
            for key in range(20, 30):
                of[key] = key
            os._exit(int(of.hook.breaker == "" or of.hook.counters["faults"] > 0))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        gnomon.kill(of, reason="x")
        gnomon.unkill(of)
        of["x"] = 1
        assert of.hook.counters["decisions"] == asked
        of.close()
        again = cache(2, "kill.broken")
        for key in range(10):
            again[key] = key
        assert again.hook.counters["decisions"] == 0
        assert again.hook.breaker.startswith("candidate: 3 failures")
        install(again, "full", 2, candidate=program(FAULTY))
        for key in range(10, 13):
            again[key] = key
        assert again.hook.counters["faults"] >= 1


def test_its_own_limits_count() -> None:
    with recording(limits=Limits(faults=5)):
        of = cache(2, "kill.limits", limits=gnomon.Limits(faults=1))
        install(of, "full", candidate=program(FAULTY))
        for key in range(9):
            of[key] = key
        assert of.hook.counters["faults"] == 1


def test_failures_under_different_leases_are_numbered_in_one_row() -> None:
    """Each renewed lease asks through a guard of its own; failures far apart stay far apart."""
    with recording():
        of = cache(2, "kill.leases")
        of["a"] = of["b"] = 1
        faulty = program(FAULTY)
        for lease in range(6):
            install(of, "full", candidate=faulty)  # the same epoch: a renewed lease
            for _ in range(120):
                of.hook.breakers["candidate"].number()  # as answers that did not fail
            before = of.hook.counters["faults"]
            while of.hook.counters["faults"] == before:
                of[lease, len(of), before] = 1
                of[lease, before, object()] = 1
        assert of.hook.counters["faults"] >= 6
        assert of.hook.breaker == ""
