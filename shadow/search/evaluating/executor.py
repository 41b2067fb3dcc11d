"""Evaluations on any ``concurrent.futures`` executor: other processes, other machines, a cluster.

What travels is text: a recipe that says how a worker makes its engine, once per process, and per program its
source, split and trial; back comes the evaluation. The isolation is that of the worker's own engine.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass
from typing import Any

from ....sdk.errors import ConfigurationError, GnomonError, SearchError
from ...evaluation import Engine, Evaluation, Split, Status, Trial


@dataclass(frozen=True)
class Recipe:
    """How a worker makes its engine.

    Attributes:
        maker: ``module:function`` that takes ``settings`` and returns an engine with what it is about (the
            ``subject`` of a run's log).
        settings: JSON values.
    """

    maker: str
    settings: Mapping[str, Any]

    def text(self) -> str:
        """Return the recipe as it travels."""
        return json.dumps({"maker": self.maker, "settings": dict(self.settings)}, sort_keys=True)


class ExecutorEngine:
    """An engine whose evaluations are jobs of an executor; see :class:`~gnomon.shadow.evaluation.Engine`.

    A job that was lost with its worker, and an answer that is none, count as the evaluator's own failure.

    Args:
        executor: it stays the caller's to shut down.
        recipe: how a worker makes its engine.
        subject: what the workers have to be about; None takes what the first one is about.

    Raises:
        SearchError: no worker answers as it should.
        ConfigurationError: the workers see another trace or other calibrations.
    """

    def __init__(
        self, executor: Executor, recipe: Recipe, subject: Mapping[str, str] | None = None
    ) -> None:
        self._executor = executor
        self._recipe = recipe.text()
        found = self._hello()
        self.layers: tuple[str, ...] = tuple(found["layers"])
        self.subject: dict[str, str] = dict(found["subject"])
        if subject is not None and self.subject != dict(subject):
            raise ConfigurationError(
                f"the executor's workers are about {self.subject}, this search about {dict(subject)}; give "
                "them the same trace and the same Gnomon"
            )

    def submit(self, source: str, split: Split, trial: Trial | None = None) -> Future[Evaluation]:
        """Evaluate a policy's source on a split; the future never raises."""
        job = {"source": source, "split": split, "subject": self.subject}
        if trial is not None:
            job["trial"] = asdict(trial)
        answer: Future[Evaluation] = Future()
        try:
            done = self._executor.submit(evaluated, self._recipe, json.dumps(job))
        except Exception as error:  # noqa: BLE001 - broken, shut down, or out of reach in a cluster's own way
            answer.set_result(_ours(f"{type(error).__name__}: {error}"))
            return answer
        done.add_done_callback(lambda done: answer.set_result(_read(done)))
        return answer

    def close(self) -> None:
        """Have nothing to free: executor and workers are the caller's."""

    def _hello(self) -> dict[str, Any]:
        try:
            text = self._executor.submit(greeted, self._recipe).result()
            found: dict[str, Any] = json.loads(text)
            if "error" not in found:
                return {"layers": found["layers"], "subject": found["subject"]}
            problem = str(found["error"])
        except Exception as error:  # noqa: BLE001 - whatever a cluster raises, it is not ours to know
            problem = f"{type(error).__name__}: {error}"
        raise SearchError(
            f"the executor's workers cannot evaluate ({problem}); see that they have this Gnomon and can "
            "read the trace"
        )


def greeted(recipe: str) -> str:
    """Return, in a worker, what evaluations there run under and are about, as JSON."""
    try:
        made = _made(recipe)
    except GnomonError as error:
        return json.dumps({"error": str(error)})
    return json.dumps({"layers": list(made.engine.layers), "subject": made.subject})


def evaluated(recipe: str, job: str) -> str:
    """Evaluate in a worker; return the evaluation as JSON."""
    wanted = json.loads(job)
    try:
        made = _made(recipe)
        if made.subject != wanted["subject"]:
            found = _ours("this worker sees another trace than the first one")
        else:
            trial = Trial(**_tuples(wanted["trial"])) if "trial" in wanted else None
            found = made.engine.submit(wanted["source"], wanted["split"], trial).result()
    except GnomonError as error:
        found = _ours(str(error))
    return json.dumps(asdict(found))


@dataclass(frozen=True)
class _Made:
    engine: Engine
    subject: dict[str, str]


_MAKING = threading.Lock()


def _made(recipe: str) -> _Made:
    """Return this process's engine; the clean process within ends with this one."""
    with _MAKING:  # threads of one worker share it
        return _fresh(recipe)


@functools.lru_cache(maxsize=4)
def _fresh(recipe: str) -> _Made:
    said = json.loads(recipe)
    module, _, name = said["maker"].partition(":")
    maker: Callable[[Mapping[str, Any]], tuple[Engine, dict[str, str]]]
    maker = getattr(importlib.import_module(module), name)
    engine, subject = maker(said["settings"])
    atexit.register(engine.close)
    return _Made(engine, subject)


def _read(done: Future[str]) -> Evaluation:
    """Return what a job's text says; whatever went wrong on the way is ours."""
    try:
        values = _tuples(json.loads(done.result()))
        pairs = tuple((str(name), float(value)) for name, value in values.pop("metrics"))
        status, score = Status(values.pop("status")), float(values.pop("score"))
        segments = tuple(map(float, values.pop("segments")))
        return Evaluation(status, score, segments, metrics=pairs, **values)
    except Exception as error:  # noqa: BLE001 - a cluster's errors and a garbled answer alike
        return _ours(f"{type(error).__name__}: {error}")


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _ours(detail: str) -> Evaluation:
    return Evaluation(Status.EVALUATOR_ERROR, detail=detail[:200])
