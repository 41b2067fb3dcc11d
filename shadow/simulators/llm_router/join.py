"""From a workload of requests and recorded decisions to requests with what became of them.

A service records the event ``request`` just before it asks the hook, so a decision belongs to the last
request of its process before it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ....sdk.errors import TraceError
from ...traces.prompt_trace import MOST_LOST, PromptTrace
from ...traces.trace import DecisionTrace
from .kernel import NEW

IntArray = npt.NDArray[np.int64]


def joined(trace: PromptTrace, decisions: DecisionTrace) -> PromptTrace:
    """Return the requests up to the last decision; those from the first one on count, with outcomes.

    Raises:
        TraceError: the decisions are over other replicas, or too many have no request of their own.
    """
    if len(decisions.members) != len(trace.members):
        raise TraceError(
            f"hook {trace.hook!r} decided over {len(decisions.members)} replicas and says that there are "
            f"{len(trace.members)}; correct the event `replicas`"
        )
    request = _requests_of(trace, decisions)
    own = np.zeros(len(request), bool)
    own[np.unique(request, return_index=True)[1]] = True
    own &= request >= 0
    first, end = int(request[own].min(initial=len(trace.at))), int(request[own].max(initial=-1)) + 1
    lost = max(len(request) - int(own.sum()), end - first - int(own.sum()))
    if lost > MOST_LOST * len(request):
        raise TraceError(
            f"hook {trace.hook!r} has {lost} decisions or requests without each other, of "
            f"{len(request)}; record the event `request` just before each decision, and all of both"
        )
    n = len(trace.at)
    action, ttft, new = np.full(n, -1, np.int32), np.full(n, np.nan), np.full(n, np.nan)
    action[request[own]] = decisions.action[own]
    ttft[request[own]] = decisions.outcome[own]
    picked = decisions.features[np.arange(len(request)), decisions.action, NEW]
    new[request[own]] = picked[own]
    kept = (np.arange(n) < end) & ((np.arange(n) < first) | (action >= 0))
    whole = replace(trace, action=action, ttft_ms=ttft, new_tokens=new, first=first)
    return whole.taken(np.flatnonzero(kept))


def _requests_of(trace: PromptTrace, decisions: DecisionTrace) -> IntArray:
    """Return, per decision, the last request of its process before it; -1 without one, i8[n]."""
    ahead_s = (decisions.start_ns - trace.start_ns) / 1e9
    found = np.full(len(decisions), -1, np.int64)
    for index, process in enumerate(decisions.instances):
        if process not in trace.instances:
            continue
        own = np.flatnonzero(trace.instance == trace.instances.index(process))
        mine = np.flatnonzero(decisions.instance == index)
        # times in seconds since two starts differ by less than a microsecond when they are equal
        at = np.searchsorted(trace.at[own], decisions.time[mine] + ahead_s + 1e-6, side="right")
        found[mine[at > 0]] = own[at[at > 0] - 1]
    return found
