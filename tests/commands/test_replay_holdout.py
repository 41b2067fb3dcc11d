"""Comparisons open no holdout and count none: they look at all of a trace, and nothing rests on them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from gnomon.policies.rollout.ledger import Ledger
from gnomon.shadow.gates.holdout import OPENED

from .conftest import Folder

PEAK = "def score(inflight, ewma_ms):\n    return (inflight + 1.0) * ewma_ms\n"


def openings(path: Path) -> int:
    with closing(Ledger(path)) as book:
        return len(book.list(kind=OPENED))


def test_a_comparison_neither_opens_nor_counts_a_holdout(folder: Folder, store: Path) -> None:
    Path("mine.py").write_text(PEAK)
    ask = ("--policy", "mine.py", "--isolation", "process")
    incumbent = ("--incumbent", "baseline:round_robin")
    compare = ("replay", store, *ask, *incumbent, "--replicas", "2", "--out")
    folder.run(*compare, "before")
    folder.run("offpolicy", store, *ask)
    ledger = Path(".gnomon/ledger.db")
    assert not ledger.exists()
    folder.run("verify", "mine.py", "--traces", store, *ask[2:], *incumbent)
    opened = openings(ledger)
    assert opened == 1
    before = ledger.read_bytes()
    folder.run(*compare, "after")
    folder.run("offpolicy", store, *ask)
    assert ledger.read_bytes() == before
    assert openings(ledger) == opened
