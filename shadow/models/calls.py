"""One call: attempts and waits under one deadline."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from .chat import Answer, ChatModel, Failure, Request
from .prices import CHARGED

#: Of the time left, for an attempt: one that hangs leaves some to the next, if there may be one.
_SHARE = 2 / 3
#: Seconds of the first wait and of the longest; full jitter (M. Brooker, AWS, 2015).
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
_MOST_ATTEMPTS = 6


@dataclass(frozen=True, slots=True)
class Result:
    """What one call came to.

    Attributes:
        answer: None when there is none.
        error: why there is none.
        attempts: how often the model was asked.
        doubtful: how many attempts gave nothing, and may be charged for.
    """

    answer: Answer | None = None
    error: str = ""
    attempts: int = 0
    doubtful: int = 0


@dataclass(frozen=True)
class Caller:
    """Asks until there is an answer, asking again cannot help, or the time is over.

    Attributes:
        model: that is asked.
        clock: seconds that never go back.
        sleep: waits for so many seconds.
    """

    model: ChatModel
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def call(self, request: Request, seconds: float, rng: random.Random) -> Result:
        """Ask a model.

        Args:
            seconds: for all attempts and the waits between them.
            rng: of the waits.
        """
        end = self.clock() + seconds
        doubtful, why = 0, ""
        for attempt in range(1, _MOST_ATTEMPTS + 1):
            try:
                share = 1.0 if doubtful == CHARGED - 1 else _SHARE
                answer = self.model.answer(request, (end - self.clock()) * share)
                return Result(answer, "", attempt, doubtful)
            except Failure as failure:
                doubtful += failure.charged
                if not failure.again or doubtful >= CHARGED:
                    return Result(None, str(failure), attempt, doubtful)
                wait, why = _wait(failure, attempt, rng), str(failure)
            if attempt == _MOST_ATTEMPTS:
                break
            if wait >= end - self.clock():
                why += f"; given up: {wait:.3g} s to wait, and {max(end - self.clock(), 0.0):.3g} s left"
                return Result(None, why, attempt, doubtful)
            self.sleep(wait)
        return Result(
            None, f"{why}; given up after {_MOST_ATTEMPTS} attempts", _MOST_ATTEMPTS, doubtful
        )


def _wait(failure: Failure, attempt: int, rng: random.Random) -> float:
    if failure.after is not None:
        return failure.after * rng.uniform(1.0, 1.1)  # never earlier than was asked for
    return rng.uniform(0.0, min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**attempt))
