"""SGLang's cache-aware routing: it compares replicas with each other, which no score form can."""

from __future__ import annotations

import numpy as np

from ....policies.llm_router import ABSOLUTE, MATCH, RELATIVE
from ....sdk.errors import ConfigurationError
from ..base import Choose, FloatArray
from .kernel import BLOCKS, CACHED, HIT, OUTSTANDING

CACHE_AWARE = "cache_aware"


def chooser(name: str) -> Choose:
    """Return ``cache_aware``; raises ConfigurationError for any other name."""
    if name != CACHE_AWARE:
        raise ConfigurationError(f"no built-in policy {name!r}; there is {CACHE_AWARE}")
    return lambda _process, rows: cache_aware(rows)


def cache_aware(rows: FloatArray) -> int:
    """Return the shortest queue out of balance, else the longest match, else the smallest cache."""
    load = rows[:, OUTSTANDING]
    most, fewest = load.max(), load.min()
    if most - fewest > ABSOLUTE and most > RELATIVE * fewest:
        return int(np.argmin(load))
    longest = int(np.argmax(rows[:, HIT]))
    if rows[longest, HIT] > MATCH * rows[longest, BLOCKS]:
        return longest
    return int(np.argmin(rows[:, CACHED]))
