"""OpenEvolve and GEPA on the stub model and evaluator, one process each: CPU of that process tree.

``python _search_peers.py openevolve 1000 20`` runs 20 iterations from a population of 1,000 programs and prints
the CPU seconds that all of it took; ``python _search_peers.py gepa 10 1000`` prints the CPU milliseconds of one
iteration at each population, several figures each.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from _search_stub import SEED, SEGMENTS, answers, mean, segments

_EVALUATOR = """\
import sys
sys.path.insert(0, {folder!r})
from _search_stub import mean


def evaluate(path):
    return {{"combined_score": mean(open(path).read())}}
"""
#: Iterations of the shorter and the longer run, by population: the difference is free of the start-up.
_RUNS = ((100, 20, 120), (1_000, 10, 40), (10_000, 4, 12))
#: Iterations that one figure of GEPA's is the mean of.
_BLOCK, _BLOCKS = 20, 3


def openevolve(population: int, repeats: int = 3) -> list[float]:
    """Return CPU ms of one iteration at a population, one figure per repeat."""
    short, long = next((few, many) for most, few, many in _RUNS if population <= most)
    found = []
    for _ in range(repeats):
        took = [_ran("openevolve", population, count) for count in (short, long)]
        found.append(1e3 * (took[1] - took[0]) / (long - short))
    return found


def gepa(populations: Sequence[int]) -> dict[int, list[float]]:
    """Return CPU ms of one iteration at each population, several figures each."""
    found = _ran("gepa", *populations)
    return {int(population): values for population, values in found.items()}


def _ran(*arguments: Any) -> Any:
    command = [sys.executable, __file__, *map(str, arguments)]
    # make has scripts not find their neighbours by themselves
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[2:])} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _run_openevolve(population: int, iterations: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        controller = _controller(Path(name), population)
        for number, source in zip(range(population), answers(), strict=False):
            controller.database.add(_program(number, source), target_island=number % 5)
        asyncio.run(controller.run(iterations=iterations))
    return _cpu()


def _controller(folder: Path, population: int) -> Any:
    from openevolve import OpenEvolve
    from openevolve.config import Config, LLMModelConfig

    (folder / "program.py").write_text(SEED)
    (folder / "evaluator.py").write_text(_EVALUATOR.format(folder=str(Path(__file__).parent)))
    config = Config()
    config.diff_based_evolution = False
    config.checkpoint_interval = 10**9
    config.log_level = "ERROR"
    config.evaluator.parallel_evaluations = 1
    config.evaluator.cascade_evaluation = False
    config.database.population_size = max(1000, population + 1000)
    config.llm.models = [LLMModelConfig(name="stub", init_client=stub)]
    config.llm.evaluator_models = config.llm.models
    return OpenEvolve(
        str(folder / "program.py"), str(folder / "evaluator.py"), config, str(folder / "out")
    )


def _program(number: int, source: str) -> Any:
    from openevolve.database import Program

    metrics = {"combined_score": mean(source)}
    return Program(id=f"p{number}", code=source, language="python", metrics=metrics)


def stub(_config: Any) -> Any:
    """Return OpenEvolve's stub model."""
    from openevolve.llm.base import LLMInterface

    class Stub(LLMInterface):  # type: ignore[misc,unused-ignore]
        """Answers with the next program."""

        def __init__(self) -> None:
            self.model = "stub"  # asked for by name
            self._answers = answers(10**6)

        async def generate(self, prompt: str, **_: Any) -> str:
            return f"```python\n{next(self._answers)}```"

        async def generate_with_context(
            self, system_message: str, messages: list[dict[str, str]], **_: Any
        ) -> str:
            return f"```python\n{next(self._answers)}```"

    return Stub()


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _run_gepa(populations: Sequence[int]) -> dict[int, list[float]]:
    import gepa as library

    clock = _Clock()
    given = answers()
    library.optimize(
        seed_candidate={"program": SEED},
        trainset=list(range(SEGMENTS)),
        valset=list(range(SEGMENTS)),
        adapter=_Adapter(),
        reflection_lm=lambda _prompt: f"```\n{next(given)}```",
        acceptance_criterion=_All(),
        skip_perfect_score=False,
        stop_callbacks=lambda _state: clock.count > max(populations) + _BLOCK * _BLOCKS,
        callbacks=[clock],
        logger=_Silent(),
        seed=0,
    )
    return {population: _blocks(clock.times, population) for population in populations}


def _blocks(times: Sequence[float], population: int) -> list[float]:
    starts = range(population, population + _BLOCK * _BLOCKS, _BLOCK)
    return [1e3 * (times[at + _BLOCK] - times[at]) / _BLOCK for at in starts]


class _Clock:
    """CPU seconds at the end of every iteration."""

    def __init__(self) -> None:
        self.times: list[float] = []

    @property
    def count(self) -> int:
        return len(self.times)

    def on_iteration_end(self, event: Any) -> None:
        self.times.append(time.process_time())


class _Adapter:
    """Scores of a program on the segments that are asked for."""

    propose_new_texts = None

    def evaluate(
        self, batch: list[int], candidate: dict[str, str], capture_traces: bool = False
    ) -> Any:
        from gepa.core.adapter import EvaluationBatch

        values = segments(candidate["program"])
        scores = [values[at] for at in batch]
        return EvaluationBatch(scores, scores, scores if capture_traces else None)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> dict[str, list[dict[str, Any]]]:
        records = [{"Feedback": f"scored {score:.4f}"} for score in eval_batch.scores]
        return dict.fromkeys(components_to_update, records)


class _All:
    """Accepts everything, so that the population is as large as there were iterations."""

    def should_accept(self, proposal: Any, state: Any) -> bool:
        return True


class _Silent:
    def log(self, message: str) -> None:
        """Drop it."""


def main(arguments: Iterable[str]) -> None:
    """Run one peer and print what it took as JSON on the last line."""
    name, *numbers = arguments
    values = [int(number) for number in numbers]
    found: Any = _run_openevolve(*values) if name == "openevolve" else _run_gepa(values)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
