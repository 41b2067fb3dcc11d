"""An engine that remembers: several searches on one trace share their evaluations."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from ...evaluation import Engine, Evaluation, Split, Status, Trial

#: What says something of the candidate and says it again: never our own fault, nor what time or memory did.
_KEPT = frozenset({Status.OK, Status.REJECTED, Status.FAULT, Status.VIOLATION, Status.STOPPED})
_Key = tuple[str, Split, Trial | None]


class CachedEngine:
    """Evaluates every program once per split, and answers just as its engine would.

    An answer is kept under (source, split, trial). One that went all the way also answers a trial that could
    not have ended it: the source was rejected, or its score is within the bar and no segments were to be
    tried first. An evaluation that is under way is shared. What the evaluator failed on, what died, what was
    late and what ran under fewer layers than the engine has are not kept: another time it may end otherwise.

    Args:
        engine: it stays the caller's to close.

    Attributes:
        asked, shared: how many evaluations were asked for, and how many of them cost nothing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.RLock()  # an engine may answer before submit() returns
        self._known: dict[_Key, Evaluation] = {}
        self._flying: dict[_Key, Future[Evaluation]] = {}
        self.asked = self.shared = 0

    @property
    def layers(self) -> tuple[str, ...]:
        """Isolation layers of the engine within."""
        return self._engine.layers

    def submit(self, source: str, split: Split, trial: Trial | None = None) -> Future[Evaluation]:
        """Evaluate a policy's source on a split, or remember what came of it.

        Raises:
            ConfigurationError: as of the engine within.
        """
        key = (source, split, trial)
        answer: Future[Evaluation] = Future()
        with self._lock:
            self.asked += 1
            known = self._remembered(key)
            flying = self._flying.get(key)
            self.shared += known is not None or flying is not None
            if known is None and flying is None:
                flying = self._flying[key] = self._engine.submit(source, split, trial)
                flying.add_done_callback(lambda done: self._landed(key, done))
        if known is not None:
            answer.set_result(known)
        elif flying is not None:
            flying.add_done_callback(lambda done: _pass_on(done, answer))
        return answer

    def close(self) -> None:
        """Forget everything; the engine within stays open."""
        with self._lock:
            self._known.clear()

    def _remembered(self, key: _Key) -> Evaluation | None:
        source, split, trial = key
        whole = self._known.get((source, split, None))
        if trial is not None and whole is not None and _would_go_all_the_way(whole, trial):
            return whole
        return self._known.get(key)

    def _landed(self, key: _Key, done: Future[Evaluation]) -> None:
        source, split, _ = key
        with self._lock:
            self._flying.pop(key, None)
            if done.cancelled() or done.exception() is not None:
                return
            found = done.result()
            if found.status not in _KEPT or not set(self.layers) <= set(found.layers):
                return
            self._known[key] = found
            if found.status is not Status.STOPPED:  # the trial did not end it: it changed nothing
                self._known[source, split, None] = found


def _would_go_all_the_way(whole: Evaluation, trial: Trial) -> bool:
    if whole.status is Status.REJECTED:
        return True
    return whole.status is Status.OK and whole.score <= trial.bar and not trial.first


def _pass_on(done: Future[Evaluation], answer: Future[Evaluation]) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    error = None if done.cancelled() else done.exception()
    if done.cancelled():
        detail = "the evaluation was cancelled"
        answer.set_result(Evaluation(Status.EVALUATOR_ERROR, detail=detail))
    elif error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(done.result())
