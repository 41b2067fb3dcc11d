"""A whole search in a process that kills itself at a given moment; the acceptance tests start it.

``python dying.py FOLDER MOMENT``: with a moment of 0 the search runs to its end. Moments are counted wherever the
process could have died between two writes: before a line of the log, in the middle of one, after it, when an
evaluation begins and when an answer is asked for.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.evaluation import Evaluation, Status
from gnomon.shadow.search.authors.writers import Authors
from gnomon.shadow.search.context import Choice, Context
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.log import RunLog
from gnomon.shadow.search.proposers import Crossover, Mutation
from gnomon.shadow.search.records import Assignment, Brief, Budget, Prompt, Record, Reply


class Moments:
    """Counts down to the one at which the process dies."""

    def __init__(self, last: int) -> None:
        self.left = last

    def pass_by(self) -> None:
        """Die, if it is time."""
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Asks:
    """Has every parent rewritten."""

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Brief | None:
        """Return a brief, once there is a parent."""
        if choice.parent is None:
            return None
        prompt = Prompt.of(("user", f"{context.step} {choice.parent.source}"))
        return Brief("write:full", prompt, "tiny", parents=(choice.parent.program,))

    def learn(self, record: Record) -> None:
        """Learn nothing."""


class Hashed:
    """Engine and writer that answer at once, by what they are asked."""

    layers: tuple[str, ...] = ()

    def __init__(self, moments: Moments) -> None:
        self._moments = moments

    def submit(self, work: Any, split: str = "train", trial: Any = None) -> Future[Any]:
        """Return what a program scores, or what becomes of a brief."""
        self._moments.pass_by()
        future: Future[Any] = Future()
        if isinstance(work, Assignment):
            number = int(work.brief.prompt.digest[:6], 16) % 900
            source = f"def score(inflight, ewma_ms):\n    return inflight * {number}.5 + ewma_ms\n"
            future.set_result(Reply(source if number % 5 else "", "prose", cost=0.01))
        else:
            drawn = hashlib.sha256(f"{split}{work}".encode()).digest()[:4]
            parts = tuple(byte / 256.0 for byte in drawn)
            future.set_result(Evaluation(Status.OK, 1.0 + sum(parts) / 4.0, parts))
        return future

    def close(self) -> None:
        """Nothing to free."""


def tear(moments: Moments) -> None:
    """Let a line be written in two halves, with a moment before, between and after."""
    whole = RunLog._append

    def torn(self: RunLog, body: dict[str, Any]) -> None:
        file = self._file

        class Halves:
            """The log's file, whose writes can be cut."""

            def write(self, data: bytes) -> None:
                """Write one half, then the other."""
                for part in (data[: len(data) // 2], data[len(data) // 2 :]):
                    moments.pass_by()
                    file.write(part)
                    file.flush()

            def flush(self) -> None:
                """Die before the line counts as written, perhaps."""
                file.flush()
                moments.pass_by()

        self._file = Halves()  # type: ignore[assignment]
        try:
            whole(self, body)
        finally:
            self._file = file

    RunLog._append = torn  # type: ignore[method-assign]


def main(folder: Path, moment: int) -> None:
    """Begin a search, or go on with the one in the folder, and die at the moment."""
    moments = Moments(moment)
    tear(moments)
    log = folder / "log.jsonl"
    resume = log.exists() and log.stat().st_size > 0
    options = Options(budget=Budget(30, 120), seed=5, parallel=2, finalists=4, resume=resume)
    hashed = Hashed(moments)
    makers = [(1.0, Asks()), (0.5, Mutation()), (0.5, Crossover())]
    result = evolve(load_balancer, hashed, options, folder, authors=Authors(makers, hashed))
    print(result.log_hash)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
