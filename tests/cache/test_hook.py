"""A cache as runtime and delivery see it: names, on and off, other threads, forks."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

import gnomon
from gnomon.sdk.assignment import Assignment
from gnomon.sdk.config import Settings
from gnomon.sdk.runtime import RUNTIME
from gnomon.testing import Recording, force, recording

from .common import cache, fetch, install, program, switchback


def test_two_live_caches_cannot_share_a_name() -> None:
    first = gnomon.PolicyCache(1, name="taken")
    with pytest.raises(gnomon.ConfigurationError, match="'taken' is already a PolicyCache"):
        gnomon.PolicyCache(1, name="taken")
    first[1] = 1
    assert RUNTIME.hooks["taken"] is first.hook


def test_a_function_and_a_cache_cannot_share_a_name() -> None:
    gnomon.PolicyCache(1, name="taken")
    with pytest.raises(gnomon.ConfigurationError, match="already a PolicyCache"):

        @gnomon.hook(
            "taken",
            kind=gnomon.load_balancer,
            items="backends",
            item_features=lambda b: (0.0, 0.0, 0.0),
        )
        def pick(backends: list[Any]) -> Any:
            return backends[0]


@pytest.mark.parametrize("how", ["closed", "collected"])
def test_the_name_of_a_cache_that_ended_is_free(how: str) -> None:
    with recording() as records:
        first = gnomon.PolicyCache(1, name="again")
        first[1] = 1
        if how == "closed":
            first.close()
        else:
            del first
            gc.collect()
        second = gnomon.PolicyCache(1, name="again")
        second[2] = 2
        assert RUNTIME.hooks["again"] is second.hook
        # what the first one had is gone with it, unless the drainer came by in between
        assert len(records.workload) in (2, 4)
        assert dict(records.workload[-1].values)["op"] == 2.0


def test_what_a_closed_cache_recorded_is_handed_on() -> None:
    with recording() as records:
        own = gnomon.PolicyCache(2, name="closed")
        own[1] = 1
        own.close()
        own[2] = 2
        assert [w.event for w in records.workload] == ["cache", "access"]
        assert "closed" not in RUNTIME.hooks
        assert dict(own) == {1: 1, 2: 2}


def test_a_successor_goes_on_with_what_delivery_gave() -> None:
    with recording():
        first = gnomon.PolicyCache(2, name="renewed")
        never = program("def score(resident):\n    return resident\n")
        install(first, "full", candidate=never, switchback=switchback(1.0))
        measure = first.hook.new_measure()
        measure.follow(switchback(1.0), 1, 0)
        first.hook.measure = measure
        first.close()
        second = gnomon.PolicyCache(2, name="renewed")
        second[1] = second[2] = second[3] = "value"
        second.get(1)
        assert set(second) == {1, 2}
        assert second.hook.measure is measure
        assert sum(report.count for report in measure.reports()) == 1


def test_a_policy_runs_only_while_on() -> None:
    own = cache(2)
    never = program("def score(resident):\n    return resident\n")
    install(own, "full", candidate=never)
    own[1] = own[2] = own[3] = "value"
    assert set(own) == {2, 3}
    with recording():
        install(own, "full", candidate=never)
        assert own.get(2) == own.get(3) == "value"  # moved into the candidate's cell
        own[4] = "value"
        assert set(own) == {2, 3}
    own[5] = "value"
    assert 5 in own


def test_gnomon_disabled_leaves_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNOMON_DISABLED", "1")
    own = cache(2)
    sink = Recording()
    gnomon.configure(sink=sink)
    fetch(own, 1)
    assert own.hook.note is None
    assert not sink.workload
    assert 1 in own


def test_a_first_use_starts_the_drainer_and_only_that() -> None:
    sink = Recording()
    RUNTIME.configure(Settings(flush_interval_s=0.01), [sink])
    own = cache(2)
    assert RUNTIME._thread is None
    own.get(1)
    assert RUNTIME._thread is not None
    gnomon.shutdown()
    assert [w.event for _, w in sink.records if hasattr(w, "event")] == ["cache", "access"]


def test_a_bad_assignment_is_refused_and_changes_nothing() -> None:
    own = cache(2)
    with pytest.raises(gnomon.ConfigurationError, match="needs a candidate"):
        own.hook.install(Assignment(epoch=1, phase="full"))
    assert own.hook.assignment == Assignment()


@pytest.mark.parametrize("threadsafe", [True, False])
def test_policies_may_be_installed_while_it_is_used(threadsafe: bool) -> None:
    """One thread uses the cache, another installs; without locks too."""
    programs = [program(name) for name in ("hyperbolic", "sampled_lfu")]
    done = threading.Event()
    with recording(ring_size=100_000):
        own = cache(50, threadsafe=threadsafe)

        def deliver() -> None:
            epoch = 0
            while not done.is_set():
                epoch += 1
                phase = ("canary", "full", "stable", "shadow")[epoch % 4]
                candidate = programs[epoch % 2]
                install(own, phase, epoch, candidate=candidate, switchback=switchback(0.5))
                assert own.hook.counters["dropped"] == 0
                RUNTIME.round()

        thread = threading.Thread(target=deliver)
        thread.start()
        try:
            for key in range(6_000):
                fetch(own, key * key % 97)
        finally:
            done.set()
            thread.join()
        assert len(own) == own.currsize <= 50


FORK = """
import os, sys, gnomon
from gnomon.testing import Recording
sink = Recording()
gnomon.configure(sink=sink)
own = gnomon.PolicyCache(10, name="forked")
own["before"] = 1
pid, mine = os.getpid(), own.hook.process_id
child = os.fork()
if not child:
    own["child"] = 2
    assert own["before"] == 1 and own.hook.process_id != mine
    ops = [dict(w.values).get("op") for w in sink.workload]
    assert ops == [None, 2.0, 1.0], ops
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
own["parent"] = 3
assert "child" not in own
ops = [dict(w.values).get("op") for w in sink.workload]
assert ops == [None, 2.0, 2.0, 0.0], ops
gnomon.shutdown()
"""


def test_a_forked_child_goes_on_with_its_copy_and_records_nothing_twice() -> None:
    """In a process of its own: a fork beside the test runner's threads would be a gamble."""
    done = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


FORK_IN_USE = """
import os, threading, gnomon
own = gnomon.PolicyCache(50, name="busy")
stop = threading.Event()
def use():
    key = 0
    while not stop.is_set():
        key += 1
        own[key % 90] = key
        own.get(key % 70)
threads = [threading.Thread(target=use) for _ in range(2)]
for thread in threads: thread.start()
for _ in range(20):
    child = os.fork()
    if not child:
        own["child"] = 1
        assert len(own) == own.currsize <= 50
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_in_the_midst_of_use_leaves_a_whole_cache() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK_IN_USE],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_a_cache_stays_light() -> None:
    code = (
        "import sys, gnomon\n"
        "c = gnomon.PolicyCache(2, name='light', ttl=5)\n"
        "c[1] = 1; c.get(1)\n"
        "heavy = {'grpc', 'numpy', 'pyarrow', 'torch', 'sqlalchemy', 'typer'}\n"
        "assert not heavy & {name.partition('.')[0] for name in sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_policy_can_be_forced_on_a_cache() -> None:
    with recording():
        own = cache(2)
        force(own, "hyperbolic")
        for key in range(5):
            fetch(own, key)
        assert own.hook.counters["decisions"] == 3
        force(own, "incumbent")
        fetch(own, 9)
        assert own.hook.counters["decisions"] == 3
