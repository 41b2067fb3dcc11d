"""Racing: how far the evaluation of a program has to go that the archive would refuse anyway.

A score is the worst mean over several calibrations, so one mean above the score that the archive asks for
is proof that the program would only enter it as the best on some segment. Where it is not that under the
calibration at hand either, the rest of its replays would tell nothing that anybody asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ...evaluation import Trial
from ..context import Context
from ..records import Outcome, Record

#: What an evaluation that was stopped says besides: as its engine names it.
AT_LEAST, REPLAYS_LEFT = "at_least", "replays_left"


def trial(context: Context) -> Trial | None:
    """Return how far a program has to go at this step; None, all the way, while the archive has room."""
    bar = context.archive.entry
    return None if math.isinf(bar) else Trial(bar=bar, leaders=context.archive.lows)


def at_least(record: Record) -> float:
    """Return a record's score, or what is certain of it; infinite where nothing is known."""
    if record.outcome is Outcome.OK:
        return record.score
    return dict(record.metrics).get(AT_LEAST, math.inf)


def replays_saved(records: Iterable[Record]) -> int:
    """Return how many replays were left out because they could not have mattered."""
    stopped = (record for record in records if record.outcome is Outcome.STOPPED)
    return sum(int(dict(record.metrics).get(REPLAYS_LEFT, 0.0)) for record in stopped)
