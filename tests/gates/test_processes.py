"""Whole verifications as processes: two at once, and one that is killed in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gnomon.policies.rollout.ledger import Ledger
from gnomon.shadow.gates.holdout import OPENED
from gnomon.shadow.gates.regressions import Regressions
from gnomon.shadow.gates.verdict import KIND, load_verdict
from gnomon.shadow.traces.trace import DecisionTrace

from .conftest import PROBING

BUSY = '''
import gnomon

@gnomon.hook("router.pick", kind=gnomon.load_balancer, items="backends",
             item_features=lambda b: (b.inflight, b.ewma_ms, b.weight))
def pick(request, backends):
    return backends[0]

@gnomon.invariant(pick)
def spare(items, picked):
    """The pick has at most 3 more outstanding requests than the least loaded item."""
    return picked.inflight <= min(item.inflight for item in items) + 3
'''


@pytest.fixture
def folder(tmp_path: Path, trace: DecisionTrace) -> Path:
    trace.save(tmp_path / "t.npz")
    (tmp_path / "probing.py").write_text(PROBING)
    (tmp_path / "other.py").write_text(PROBING.replace("1.0", "1.5"))
    (tmp_path / "greedy.py").write_text("def score(inflight):\n    return -inflight\n")
    (tmp_path / "busy.py").write_text(BUSY)
    return tmp_path


def started(folder: Path, policy: str, *more: str) -> subprocess.Popen[str]:
    words = ["verify", policy, "--traces", "t.npz", "--incumbent", "baseline:round_robin"]
    command = [sys.executable, "-m", "gnomon", *words, "--json", "--ledger", "l.db", *more]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, Any]:
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return process.returncode, json.loads(out) if out else None


def test_two_at_once_get_openings_of_their_own_and_leave_whole_files(folder: Path) -> None:
    both = [started(folder, policy, "--out", "v.json") for policy in ("probing.py", "other.py")]
    (first, one), (second, two) = map(ended, both)
    assert {first, second} <= {0, 3}  # the second opening's alpha is half of the first's
    ledger = Ledger(folder / "l.db")
    opened = ledger.list(kind=OPENED)
    assert sorted(entry.body["opening"] for entry in opened) == [1, 2]
    assert sum(entry.body["alpha"] for entry in opened) <= 0.05
    assert ledger.verify().ok
    assert {entry.subject for entry in ledger.list(kind=KIND)} == {one["digest"], two["digest"]}
    # the file is the one of them that came last, whole
    assert load_verdict(folder / "v.json", ledger).digest in (one["digest"], two["digest"])
    ledger.close()


@pytest.mark.soak
def test_two_that_find_the_same_case_keep_it_once(folder: Path) -> None:
    named = ("--hook", "busy:pick", "--out", "v.json")
    both = [started(folder, "greedy.py", *named) for _ in range(2)]
    answers = [ended(each) for each in both]
    assert [code for code, _ in answers] == [1, 1]
    assert {said["reason"] for _, said in answers} == {"invariants"}
    (stored,) = Regressions(folder / ".gnomon" / "regressions").all()
    assert stored.problem == "" and not list(stored.path.parent.glob(".*"))


def killed_once(folder: Path, when: Callable[[Ledger], bool]) -> bool:
    """Kill a verification as soon as the ledger says so; return whether that came before its end."""
    Ledger(folder / "l.db").close()
    process = started(folder, "probing.py", "--out", "v.json")
    ledger, until = Ledger(folder / "l.db"), time.monotonic() + 60.0
    while not when(ledger) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    ledger.close()
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def test_a_killed_verification_runs_again_and_its_opening_counts_once(folder: Path) -> None:
    in_time = killed_once(folder, lambda ledger: bool(ledger.list(kind=OPENED)))
    ledger = Ledger(folder / "l.db")
    assert len(ledger.list(kind=OPENED)) == 1
    if in_time:  # on a busy machine it may have ended first
        assert not ledger.list(kind=KIND) and not (folder / "v.json").exists()
    code, said = ended(started(folder, "probing.py", "--out", "v.json"))
    assert code == 0 and said["decision"] == "accepted"
    holdout = next(gate for gate in said["gates"] if gate["name"] == "holdout")
    assert (holdout["evidence"]["opening"], holdout["evidence"]["alpha"]) == (1, 0.025)
    assert holdout["evidence"]["account"]["openings"] == 1
    assert len(ledger.list(kind=OPENED)) == 1 and ledger.verify().ok
    assert load_verdict(folder / "v.json", ledger).digest == said["digest"]
    ledger.close()


@pytest.mark.soak
@pytest.mark.parametrize("after_s", [0.2 * step for step in range(1, 26)])
def test_killed_at_any_moment_it_runs_again(folder: Path, after_s: float) -> None:
    begun = time.monotonic()
    killed_once(folder, lambda _: time.monotonic() - begun > after_s)
    code, _ = ended(started(folder, "probing.py", "--out", "v.json"))
    ledger = Ledger(folder / "l.db")
    assert code == 0 and len(ledger.list(kind=OPENED)) == 1 and ledger.verify().ok
    ledger.close()
