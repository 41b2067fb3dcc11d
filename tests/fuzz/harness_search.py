"""Logs of searches whose lines follow from one another: read, shown and exported, or refused in one line.

The chain of hashes is laid here, as whoever forges a log lays it; what is no JSON is taken as the file itself.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from gnomon.sdk.errors import GnomonError
from gnomon.shadow.search.lines import Final, Scored, encoded, encoded_final
from gnomon.shadow.search.log import VERSION, _chained
from gnomon.shadow.search.records import Outcome, Record
from gnomon.shadow.search.results.export import as_jsonl
from gnomon.shadow.search.results.runs import load

from . import mutate as _mutate


def TestOneInput(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log.jsonl"
        log.write_bytes(_laid(data))
        try:
            run = load(log)
        except GnomonError as error:
            assert "\n" not in str(error) and len(str(error)) < 500, error
            return
        result = run.result()
        assert str(result) and result.as_json() and run.subject is not None
        for row in as_jsonl(run):
            assert row.isascii() and json.loads(row)["outcome"]


def _laid(data: bytes) -> bytes:
    """Return the lines of a JSON list of objects, chained; anything else as it is."""
    try:
        bodies = json.loads(data)
        lines, before = [], ""
        for body in bodies:
            line, before = _chained(dict(body), before)
            lines.append(line)
        return "".join(lines).encode()
    except (ValueError, TypeError, RecursionError):
        return data


def seeds() -> Iterator[bytes]:
    header = {"type": "header", "format": "gnomon.search", "version": VERSION}
    config = {"kind": "load_balancer", "seed": 1, "equal": 0.01, "subject": {"hook": "router.pick"}}
    seed = Record(
        0, "p0", "k0", "def score(noise):\n    return noise\n", "seed:random", (), 3, Outcome.OK, 2.0,
        (1.0, 3.0),
    )  # fmt: skip
    child = Record(
        1, "p1", "k1", "def score(weight):\n    return weight\n", "rewrite", ("p0",), 3, Outcome.OK, 1.0,
        (0.5, 1.5), author="a/model", cost=None, tokens_in=9, prompt="d" * 64, metrics=(("p99", 4.0),),
    )  # fmt: skip
    broken = Record(2, "p2", "", "(", "wrap", ("p1", "p0"), 0, Outcome.INVALID, reason="no")
    lines: list[dict[str, Any]] = [header | {"config": config}]
    lines += [{"type": "proposal"} | encoded(each) for each in (seed, child, broken)]
    yield json.dumps(lines).encode()
    best, base = Scored("evolved", "p1", 1.0, 1.0, (0.5, 1.5)), Scored("random", "p0", 2.0, 2.0)
    for incumbent in ("p0", Scored("incumbent", "incumbent", 3.0, 3.0), None):
        final = Final("evaluations", "p1", (best, base), incumbent)
        hint = {"type": "hint", "step": 1, "text": "try less"}
        yield json.dumps([*lines, hint, {"type": "final"} | encoded_final(final)]).encode()
    yield _laid(json.dumps(lines).encode())


def mutate(data: bytes, random: Random) -> bytes:
    return _mutate.json_bytes(data, random)
