"""A process that measures cells: one line of JSON in, one line out, until there are no more.

Started by :class:`~gnomon.shadow.replay.pool.Pool` as ``python -m gnomon.shadow.replay.worker``. Whatever else
the code that it runs prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TextIO

from ...sdk.errors import GnomonError
from .bench import Bench, Job


def main() -> None:
    """Answer jobs from standard input on what was standard output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with Bench() as bench:
        for line in sys.stdin:
            _say(answers, _answered(bench, line))


def _answered(bench: Bench, line: str) -> dict[str, object]:
    try:
        return {"result": bench.run(Job.of_json(json.loads(line))).as_json()}
    except GnomonError as error:
        reason, number = getattr(error, "reason", str(error)), getattr(error, "line", 0)
        return {"error": type(error).__name__, "text": reason, "line": number}


def _say(answers: TextIO, answer: dict[str, object]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
