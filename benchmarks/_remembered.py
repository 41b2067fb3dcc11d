"""An engine that asks another one at most once for a program on a window, across runs."""

from __future__ import annotations

import json
import math
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from gnomon.shadow.evaluation import Engine, Evaluation, Split, Status


class Remembered:
    """Evaluations from a file, and from an engine what is not in it yet.

    Args:
        engine: made when it is first needed.
        path: JSON lines; appended to, so that an interrupted run goes on where it was.

    Attributes:
        asked: evaluations that the engine was asked for.
    """

    def __init__(self, engine: Any, path: Path) -> None:
        self._make = engine
        self._engine: Engine | None = None
        self._known: dict[tuple[str, str], Evaluation] = {}
        self.asked = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_bytes() if path.exists() else b""
        whole = text.rfind(b"\n") + 1  # a last line that was cut is written again
        for line in text[:whole].splitlines():
            source, split, *values = json.loads(line)
            self._known[source, split] = _decoded(values)
        self._file = path.open("a")
        self._file.truncate(whole)

    @property
    def layers(self) -> tuple[str, ...]:
        """None: what is compared here are searches."""
        return ()

    def submit(self, source: str, split: Split, trial: Any = None) -> Future[Evaluation]:
        """Return a future that is done; a trial is ignored, because other runs want all of the score."""
        future: Future[Evaluation] = Future()
        known = self._known.get((source, split)) or self._fresh(source, split)
        future.set_result(known)
        return future

    def _fresh(self, source: str, split: Split) -> Evaluation:
        if self._engine is None:
            self._engine = self._make()
        self.asked += 1
        found = self._engine.submit(source, split).result()
        if found.status is not Status.EVALUATOR_ERROR:
            self._known[source, split] = found
            self._file.write(json.dumps([source, split, *_encoded(found)]) + "\n")
            self._file.flush()
        return found

    def close(self) -> None:
        """Close file and engine."""
        self._file.close()
        if self._engine is not None:
            self._engine.close()


def _encoded(found: Evaluation) -> list[Any]:
    score = found.score if math.isfinite(found.score) else None
    return [found.status.value, score, list(found.segments), found.detail]


def _decoded(values: list[Any]) -> Evaluation:
    status, score, segments, detail = values
    return Evaluation(Status(status), math.nan if score is None else score, tuple(segments), detail)
