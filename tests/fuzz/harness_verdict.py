"""Verdict files that a ledger vouches for: read as they were written and shown, or refused.

The ledger here vouches for anything, so that the reader alone stands between the file and the gates.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from gnomon.sdk.errors import TrustError
from gnomon.shadow.gates.verdict import GateResult, Verdict, load_verdict

from . import mutate as _mutate

LEDGER: Any = SimpleNamespace(
    path="ledger.db",
    verify=lambda: SimpleNamespace(ok=True, problem=""),
    list=lambda kind, subject: [subject],
)
CASE = {
    "invariant": "in range", "inputs": ["inflight"], "items": [[1.0], [2.0]], "action": 1,
}  # fmt: skip
ASKED = {"invariant": "fits", "question": {"loads": [1.0]}, "answer": {"placement": [[0]]}}


def TestOneInput(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "verdict.json"
        path.write_bytes(data)
        try:
            verdict = load_verdict(path, LEDGER)
        except TrustError as error:
            assert "\n" not in str(error), error
            return
        assert str(verdict) and verdict.as_json()
        again = verdict.save(Path(name) / "again.json")
        assert load_verdict(Path(name) / "again.json", LEDGER) == again


def seeds() -> Iterator[bytes]:
    for evidence in ({}, {"counterexample": CASE}, {"counterexample": ASKED, "p": 0.5}):
        gates = (GateResult("language", "passed", "12 of 400", {"nodes": 12}, 0.1),)
        last = GateResult("invariants", "failed", "broken", evidence, 1.5)
        yield Verdict(
            decision="refused", reason="invariants", summary="It breaks.", hook="router.pick",
            kind="load_balancer", kind_version=1, source="def score(a):\n    return a\n",
            source_digest="a" * 64, form="score", gates=(*gates, last), fidelity={"p50": [1.0, 2]},
            trace="b" * 64, splits={"holdout": "c" * 64}, calibration="d" * 64,
            predicted={"incumbent": {"estimate": -0.1, "low": -0.2, "high": 0.0}},
            layers=("seccomp",), isolation="strict", seed=1, tool="0.1.0", created_ns=1,
        ).to_bytes()  # fmt: skip
    yield json.dumps({"format": 1}).encode()


def mutate(data: bytes, random: Random) -> bytes:
    return _mutate.json_bytes(data, random)
