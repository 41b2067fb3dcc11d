"""Problem folders: settings, what an evaluator's process answers, and programs that are no policies.

The first byte says which: ``s`` a ``config.yaml``, ``a`` one line of answers, else a program.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

from gnomon.sdk.errors import ConfigurationError, LanguageError
from gnomon.shadow.evaluation import Status
from gnomon.shadow.problems.answers import answer
from gnomon.shadow.problems.engine import FEEDBACK, judged
from gnomon.shadow.problems.folder import Problem
from gnomon.shadow.problems.process import Ran
from gnomon.shadow.problems.settings import settings_of
from gnomon.shadow.problems.space import ProblemSpace
from gnomon.shadow.search.authors.blocks import cut

from . import mutate as _mutate

FOLDERS = Path(__file__).parents[1] / "problems" / "folders"
WORDS = Problem.read(FOLDERS / "words")
SPACE = ProblemSpace(WORDS)


def TestOneInput(data: bytes) -> None:
    reader = {b"s": _settings, b"a": _answer}.get(data[:1], _program)
    reader(data[1:])


def _settings(data: bytes) -> None:
    try:
        made = settings_of(data, Path("config.yaml"))
    except ConfigurationError as error:
        assert "\n" not in str(error), error
        return
    assert 0.0 < made.timeout_s < math.inf and made.most_characters > 0
    assert not any(map(math.isnan, made.thresholds))
    json.dumps([made.arguments, made.features, made.statement, made.ignored], allow_nan=False)


def _answer(data: bytes) -> None:
    try:
        found = answer(json.loads(data))
    except (ValueError, TypeError, LookupError, RecursionError):
        return
    said = judged(Ran(stage=1, answer=found), WORDS)
    assert math.isfinite(said.score) == (said.status is Status.OK)
    assert len(said.feedback) <= FEEDBACK and said.detail.isascii() and len(said.detail) <= 200
    json.dumps(said.metrics, allow_nan=False)
    assert all(ord(c) >= 32 or c in "\n\t" for c in said.feedback)


def _program(data: bytes) -> None:
    source, dialect = (
        data.decode("utf-8", "surrogateescape" if len(data) % 2 else "replace"),
        SPACE.dialect,
    )
    try:
        nodes, key = dialect.nodes(source), dialect.key(source)
    except LanguageError as error:
        assert "\n" not in str(error), error
        return
    assert nodes >= 0 and key == dialect.key(source)
    made = dialect.mutated(source, SPACE, Random(nodes))
    tuned = dialect.with_constants(source, dialect.constants(source))
    for child in (tuned, *(made[:1] if made else ())):
        assert cut(child).fixed == WORDS.marked.fixed
        assert dialect.nodes(child) >= 0


def seeds() -> Iterator[bytes]:
    for name in ("packing", "words"):
        yield b"s" + (FOLDERS / name / "config.yaml").read_bytes()
    done = {"event": "done", "fitness": 0.5, "stages": 1, "of": 3, "notes": [["a", "b"]]}
    done |= {"metrics": [["combined_score", 0.5]], "artifacts": [["x", "y\u001b"]]}
    yield b"a" + json.dumps(done).encode()
    raised = {"event": "raised", "where": "program", "error": "E: e", "trace": "T"}
    yield b"a" + json.dumps(done | raised).encode()
    yield b"p" + WORDS.program.encode()


def mutate(data: bytes, random: Random) -> bytes:
    text = data[1:].decode("utf-8", "replace")
    if data[:1] == b"p" and random.random() < 0.8:  # within a block, or hardly any is a program
        frame = cut(WORDS.program)
        inside = [_mutate.source(block, random) for block in frame.inside]
        return b"p" + frame.joined(inside).encode("utf-8", "replace")
    return data[:1] + _mutate.source(text, random).encode("utf-8", "replace")
