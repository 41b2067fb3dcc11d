"""A continuous-batching LLM server, compiled once; stream and compiled replays share it.

The engine works in steps. A step takes the running requests in the order of their admission, one token each,
or what is left of their prompts up to a budget of tokens; then it admits waiting requests, those that the
policy picks, while budget, seats and blocks of KV memory last. A pick that does not fit ends the admissions
of the step. Where a running request finds no block, the one that was admitted last gives its own back and
waits again, with all of its tokens to be computed anew. This is what vLLM's V1 scheduler does.

Where decisions begin with requests in the engine, one of those that waits again is admitted before any decision
is made: it does not count, and a policy that made it wait would gain by that.

A step is composed when the step ``depth`` before it is complete: with asynchronous scheduling (2) one step
is always under way, so that what arrives or ends meanwhile is seen a step later.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..native import inlined, lean
from ..scheduler.kernel import mixed, noise_of, slack_of, wait_of

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Columns of ``rows``: the kind's inputs, in order.
WAIT, PROMPT, OUTPUT, PRIORITY, SLACK, QUEUED, KV_FREE, SINCE, NOISE = range(9)
INPUTS = 9
#: Places of ``engine``: budget and seats of a step, blocks, tokens of a block, steps in advance.
BUDGET, SEATS, BLOCKS, BLOCK, DEPTH = range(5)
#: Places of ``cursor``: next request to arrive, how many wait, how many run, free blocks, decisions,
#: steps, what is left of the budget, whether this step admits no more, requests that are done, most tokens
#: and most running requests of a step, fewest free blocks, requests that gave their blocks back.
(
    NEXT, WAITING, RUNNING, FREE, DECIDED, STEPS, LEFT, CLOSED, DONE,
    MOST_TOKENS, MOST_RUNNING, LEAST_FREE, RECOMPUTED,
) = range(13)  # fmt: skip
CURSOR = 13
#: Places of ``clock``: when the step at hand is composed, when the one before it is complete, when the one
#: at hand is; seconds that the engine worked.
NOW, BEFORE, BUSY = range(3)
_NONE = -1


class Model(NamedTuple):
    """What does not change during a replay; n requests by arrival.

    Attributes:
        arrival: seconds, ascending, f8[n].
        prompt, output: tokens, i8[n].
        expected: tokens of the answer as the policy knows them, f8[n].
        priority: weight, f8[n].
        due: when its deadline is, seconds, +inf without one, f8[n].
        luck: of its draws of noise, u8[n].
        held: whether it was in the engine already when decisions begin, bool[n].
        engine: see :data:`BUDGET` and what follows it, i8[5].
        cost: seconds per step, per token, per token of context that is read, and per pair of a token of
            a prompt and one before it, f8[4].
        since: when decisions begin, seconds.
        seed: of all draws.
    """

    arrival: FloatArray
    prompt: IntArray
    output: IntArray
    expected: FloatArray
    priority: FloatArray
    due: FloatArray
    luck: npt.NDArray[np.uint64]
    held: npt.NDArray[np.bool_]
    engine: IntArray
    cost: FloatArray
    since: float
    seed: np.uint64


class State(NamedTuple):
    """What a replay has done so far.

    Attributes:
        waiting: requests that wait, by arrival, i8[n].
        running: requests that run, by admission, i8[n].
        computed: tokens in the KV memory, i8[n].
        made: tokens of the answer, those of steps under way included, i8[n].
        share: tokens in the step at hand, i8[n].
        blocks: of KV memory that are held, i8[n].
        joined: number of the decision at which a request was first seen waiting, i8[n].
        admitted, first, last: when it was first admitted, its first token came, its last, seconds, f8[n].
        cursor: see :data:`NEXT` and what precedes :data:`CURSOR`, i8[13].
        clock: see :data:`NOW`, f8[3].
        work: of the step at hand: tokens, context read, pairs; f8[3].
        spent: steps, tokens, context read and pairs since the engine last had nothing to do, until the times
            ``NOW`` and ``BEFORE``, f8[2, 4].
        slope: the same until each request was admitted and its first and last token came: how these times
            change with the costs, as long as the same is done in every step, f8[n, 3, 4].
    """

    waiting: IntArray
    running: IntArray
    computed: IntArray
    made: IntArray
    share: IntArray
    blocks: IntArray
    joined: IntArray
    admitted: FloatArray
    first: FloatArray
    last: FloatArray
    cursor: IntArray
    clock: FloatArray
    work: FloatArray
    spent: FloatArray
    slope: FloatArray


@inlined
def _wait(model: Any, state: Any, request: Any) -> None:
    """Put a request among those that wait, by arrival."""
    at = state.cursor[WAITING]
    while at > 0 and state.waiting[at - 1] > request:
        state.waiting[at] = state.waiting[at - 1]
        at -= 1
    state.waiting[at] = request
    state.joined[request] = state.cursor[DECIDED]
    state.cursor[WAITING] += 1


@inlined
def _last_admitted(model: Any, state: Any) -> Any:
    """Return the place of the running request that was admitted last and has tokens to make."""
    at = state.cursor[RUNNING] - 1
    while state.made[state.running[at]] >= model.output[state.running[at]]:
        at -= 1
    return at


@inlined
def _give_back(model: Any, state: Any, place: Any) -> None:
    """Take a running request out of the engine; it waits again, and nothing of it is computed."""
    cursor = state.cursor
    request = state.running[place]
    for at in range(place, cursor[RUNNING] - 1):
        state.running[at] = state.running[at + 1]
    cursor[RUNNING] -= 1
    if state.share[request] > 0:  # it was a part of this step already
        cursor[LEFT] += state.share[request]
        _count(state, request, -1.0)
        state.share[request] = 0
    cursor[FREE] += state.blocks[request]
    cursor[RECOMPUTED] += 1
    cursor[CLOSED] = 1
    state.blocks[request] = 0
    state.computed[request] = 0
    _wait(model, state, request)


@inlined
def _count(state: Any, request: Any, sign: Any) -> None:
    """Add a request's share, which is computed already, to the work of the step."""
    tokens = np.float64(state.share[request])
    after = np.float64(state.computed[request])
    state.work[0] += sign * tokens
    if tokens == 1.0:
        state.work[1] += sign * after
    else:
        state.work[2] += sign * tokens * (after - 0.5 * tokens)


@inlined
def _take(model: Any, state: Any, request: Any, tokens: Any) -> None:
    """Make tokens of a request a part of the step; its blocks are free."""
    cursor = state.cursor
    after = state.computed[request] + tokens
    held = (after + model.engine[BLOCK] - 1) // model.engine[BLOCK]
    cursor[FREE] -= held - state.blocks[request]
    state.blocks[request] = held
    state.computed[request] = after
    state.share[request] = tokens
    cursor[LEFT] -= tokens
    _count(state, request, 1.0)


@inlined
def _go_on(model: Any, state: Any) -> None:
    """Give the running requests their parts of the step."""
    cursor = state.cursor
    at = 0
    while at < cursor[RUNNING] and cursor[LEFT] > 0:
        request = state.running[at]
        at += 1
        rest = model.prompt[request] + state.made[request] - state.computed[request]
        if state.made[request] >= model.output[request] or rest <= 0:
            continue  # all of it is done or under way
        tokens = min(rest, cursor[LEFT])
        after = state.computed[request] + tokens
        more = (after + model.engine[BLOCK] - 1) // model.engine[BLOCK] - state.blocks[request]
        while more > cursor[FREE] and tokens > 0:
            place = _last_admitted(model, state)
            if place == at - 1:
                at -= 1
                tokens = 0
            _give_back(model, state, place)
        if tokens > 0:
            _take(model, state, request, tokens)


@inlined
def _arrive(model: Any, state: Any) -> None:
    cursor = state.cursor
    while cursor[NEXT] < len(model.arrival) and model.arrival[cursor[NEXT]] <= state.clock[NOW]:
        if np.isnan(state.admitted[cursor[NEXT]]):  # else it runs already
            _wait(model, state, cursor[NEXT])
        cursor[NEXT] += 1


@inlined
def asks(model: Any, state: Any) -> Any:
    """Return whether a decision is due: a request waits, and the step has room for one."""
    cursor = state.cursor
    return (
        cursor[WAITING] > 0
        and cursor[LEFT] > 0
        and cursor[CLOSED] == 0
        and cursor[RUNNING] < model.engine[SEATS]
    )


@inlined
def _note(state: Any, request: Any, what: Any, when: Any) -> None:
    for at in range(4):
        state.slope[request, what, at] = state.spent[when, at]


@inlined
def _enter(model: Any, state: Any, place: Any) -> Any:
    """Admit a waiting request, if all of it fits, else end the admissions; return whether it did."""
    cursor = state.cursor
    request = state.waiting[place]
    tokens = model.prompt[request] + state.made[request]
    if (tokens + model.engine[BLOCK] - 1) // model.engine[BLOCK] > cursor[FREE]:
        cursor[CLOSED] = 1  # no more admissions in this step
        return False
    for at in range(place, cursor[WAITING] - 1):
        state.waiting[at] = state.waiting[at + 1]
    cursor[WAITING] -= 1
    state.running[cursor[RUNNING]] = request
    cursor[RUNNING] += 1
    if np.isnan(state.admitted[request]):
        state.admitted[request] = state.clock[NOW]
        _note(state, request, 0, NOW)
    _take(model, state, request, min(tokens, cursor[LEFT]))
    return True


@inlined
def _take_back(model: Any, state: Any) -> None:
    """Admit those first that were in the engine when decisions began; nobody is asked."""
    place = 0
    while place < state.cursor[WAITING] and asks(model, state):
        if not model.held[state.waiting[place]]:
            place += 1
        else:
            _enter(model, state, place)


@lean
def begin(model: Any, state: Any) -> None:
    """Compose what needs no decision of the step at hand."""
    cursor = state.cursor
    cursor[LEFT] = model.engine[BUDGET]
    cursor[CLOSED] = 0
    state.work[:] = 0.0
    _arrive(model, state)
    _go_on(model, state)
    _take_back(model, state)


@lean
def admit(model: Any, state: Any, place: Any) -> Any:
    """Admit the waiting request that was picked, if all of it fits; return whether it did."""
    state.cursor[DECIDED] += 1
    return _enter(model, state, place)


@inlined
def _seconds(model: Any, state: Any) -> Any:
    cost, work = model.cost, state.work
    return cost[0] + cost[1] * work[0] + cost[2] * work[1] + cost[3] * work[2]


@inlined
def _finish(model: Any, state: Any, done: Any) -> None:
    """Note the tokens that the step at hand makes."""
    cursor = state.cursor
    for at in range(cursor[RUNNING]):
        request = state.running[at]
        if state.share[request] == 0:
            continue
        state.share[request] = 0
        if state.computed[request] == model.prompt[request] + state.made[request]:
            state.made[request] += 1
            if state.made[request] == 1:
                state.first[request] = done
                _note(state, request, 1, BEFORE)
            if state.made[request] == model.output[request]:
                state.last[request] = done
                _note(state, request, 2, BEFORE)


@inlined
def _release(model: Any, state: Any, until: Any) -> None:
    """Take the requests out of the engine whose last token has come."""
    cursor = state.cursor
    kept = 0
    for at in range(cursor[RUNNING]):
        request = state.running[at]
        if state.made[request] == model.output[request] and state.last[request] <= until:
            cursor[FREE] += state.blocks[request]
            state.blocks[request] = 0
            cursor[DONE] += 1
        else:
            state.running[kept] = request
            kept += 1
    cursor[RUNNING] = kept


@inlined
def _work(model: Any, state: Any) -> None:
    """Carry out the step at hand: the one after it is composed when the step before is complete."""
    cursor, clock, spent, work = state.cursor, state.clock, state.spent, state.work
    cursor[STEPS] += 1
    cursor[MOST_TOKENS] = max(cursor[MOST_TOKENS], np.int64(work[0]))
    cursor[MOST_RUNNING] = max(cursor[MOST_RUNNING], cursor[RUNNING])
    cursor[LEAST_FREE] = min(cursor[LEAST_FREE], cursor[FREE])
    seconds = _seconds(model, state)
    begun = NOW if clock[NOW] > clock[BEFORE] else BEFORE
    done = clock[begun] + seconds
    clock[BUSY] += seconds
    later = model.engine[DEPTH] > 1
    composed = max(clock[NOW], clock[BEFORE] if later else done)
    for at in range(4):
        until = spent[begun, at] + (1.0 if at == 0 else work[at - 1])
        if not later:
            spent[NOW, at] = until
        elif begun == BEFORE:
            spent[NOW, at] = spent[BEFORE, at]
        spent[BEFORE, at] = until
    clock[NOW], clock[BEFORE] = composed, done
    _finish(model, state, done)


@lean
def end(model: Any, state: Any) -> Any:
    """Carry out the step at hand and go on to the next; return whether there is one."""
    cursor, clock, spent = state.cursor, state.clock, state.spent
    if state.work[0] > 0.0:
        _work(model, state)
    elif cursor[RUNNING] > 0:  # nothing to do before what is under way is complete
        if clock[BEFORE] >= clock[NOW]:
            clock[NOW] = clock[BEFORE]
            for at in range(4):
                spent[NOW, at] = spent[BEFORE, at]
    else:
        if cursor[NEXT] == len(model.arrival):
            return False
        if model.arrival[cursor[NEXT]] > clock[NOW]:
            clock[NOW] = model.arrival[cursor[NEXT]]
            for at in range(4):
                spent[NOW, at] = 0.0
    _release(model, state, clock[NOW])
    return cursor[DONE] < len(model.arrival)


@lean
def advance(model: Any, state: Any, decided: Any) -> Any:
    """Go on until a decision is due; return whether there is one.

    Args:
        decided: whether the step at hand has begun: a decision of it was just made.
    """
    if decided and asks(model, state):
        return True
    going = True
    if decided:
        going = end(model, state)
    while going:
        begin(model, state)
        if asks(model, state):
            return True
        going = end(model, state)
    return False


@lean
def observe(model: Any, state: Any, rows: Any) -> Any:
    """Fill rows with what the policy sees of those that wait; return how many they are."""
    cursor = state.cursor
    now, queued = state.clock[NOW], cursor[WAITING]
    free = np.float64(cursor[FREE]) / np.float64(model.engine[BLOCKS])
    key = mixed(model.seed, cursor[DECIDED])
    for place in range(min(queued, len(rows))):
        request = state.waiting[place]
        rows[place, WAIT] = wait_of(now, model.arrival[request])
        rows[place, PROMPT] = model.prompt[request]
        rows[place, OUTPUT] = model.expected[request]
        rows[place, PRIORITY] = model.priority[request]
        rows[place, SLACK] = slack_of(now, model.due[request])
        rows[place, QUEUED] = queued
        rows[place, KV_FREE] = free
        rows[place, SINCE] = cursor[DECIDED] - state.joined[request] + 1
        rows[place, NOISE] = noise_of(key, model.luck[request])
    return queued


@inlined
def best(model: Any, state: Any, score: Any, sign: Any) -> Any:
    """Return the place of the lowest signed score, ties by noise then place; -1 on a fault."""
    cursor = state.cursor
    now, queued = state.clock[NOW], np.float64(cursor[WAITING])
    free = np.float64(cursor[FREE]) / np.float64(model.engine[BLOCKS])
    key = mixed(model.seed, cursor[DECIDED])
    picked, lowest, lucky = _NONE, np.inf, 0.0
    for place in range(cursor[WAITING]):
        request = state.waiting[place]
        noise = noise_of(key, model.luck[request])
        value = sign * score(
            wait_of(now, model.arrival[request]),
            np.float64(model.prompt[request]),
            model.expected[request],
            model.priority[request],
            slack_of(now, model.due[request]),
            queued,
            free,
            np.float64(cursor[DECIDED] - state.joined[request] + 1),
            noise,
        )
        if np.isnan(value):
            return _NONE
        if picked == _NONE or value < lowest or (value == lowest and noise < lucky):
            picked, lowest, lucky = place, value, noise
    return picked


@lean
def run(model: Any, state: Any, score: Any, sign: Any) -> Any:
    """Decide everything by a score; return the decision on which it failed, or -1."""
    decided = False
    while advance(model, state, decided):
        place = best(model, state, score, sign)
        if place == _NONE:
            return state.cursor[DECIDED]
        admit(model, state, place)
        decided = True
    return _NONE


@lean
def run_ranked(model: Any, state: Any, rank: Any) -> None:
    """Decide everything by a fixed rank of the requests, lowest first."""
    decided = False
    while advance(model, state, decided):
        place = 0
        for other in range(1, state.cursor[WAITING]):
            if rank[state.waiting[other]] < rank[state.waiting[place]]:
                place = other
        admit(model, state, place)
        decided = True
