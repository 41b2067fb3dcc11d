"""OpenEvolve itself on a problem folder, in a process of its own: JSON on standard input and output.

In: ``folder``, ``base`` (of a model's server) with ``iterations`` or 0, ``diffs`` (whether it answers in them),
``sources``, ``out``. Out: ``run``, the programs of
its database, and ``evaluated``, what its evaluator says of the sources; each with metrics, fitness and artifacts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from openevolve import Config, OpenEvolve
from openevolve.evaluator import Evaluator
from openevolve.utils.metrics_utils import get_fitness_score


def settings(folder: Path, base: str, diffs: bool) -> Any:
    path = folder / "config.yaml"
    config = Config.from_yaml(path) if path.exists() else Config()
    config.llm.primary_model = "stub"
    config.llm.rebuild_models()
    asked = {"api_base": base, "api_key": "none", "retries": 0, "timeout": 60}
    config.llm.update_model_params(asked, overwrite=True)
    config.evaluator.parallel_evaluations = 1
    config.evaluator.max_retries = 0
    config.diff_based_evolution = diffs
    config.log_level = "CRITICAL"
    return config


def said(
    source: str, metrics: dict[str, Any], artifacts: Any, features: list[str]
) -> dict[str, Any]:
    numbers = {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return {
        "source": source,
        "metrics": numbers,
        "fitness": get_fitness_score(metrics, features),
        "artifacts": sorted(artifacts or {}),
    }


def run(folder: Path, config: Any, iterations: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as out:
        package = OpenEvolve(
            str(folder / "initial_program.py"), str(folder / "evaluator.py"), config, output_dir=out
        )
        asyncio.run(package.run(iterations=iterations))
        features = config.database.feature_dimensions
        return [said(p.code, p.metrics, {}, features) for p in package.database.programs.values()]


def evaluated(folder: Path, config: Any, sources: list[str]) -> list[dict[str, Any]]:
    evaluator = Evaluator(config.evaluator, str(folder / "evaluator.py"))
    found = []
    for number, source in enumerate(sources):
        metrics = asyncio.run(evaluator.evaluate_program(source, str(number)))
        artifacts = evaluator.get_pending_artifacts(str(number))
        found.append(said(source, metrics, artifacts, config.database.feature_dimensions))
    return found


def main() -> None:
    asked = json.load(sys.stdin)
    logging.disable(logging.CRITICAL)
    folder = Path(asked["folder"])
    config = settings(folder, asked["base"], asked["diffs"])
    answer = {
        "run": run(folder, config, asked["iterations"]) if asked["iterations"] else [],
        "evaluated": evaluated(folder, config, asked["sources"]),
    }
    Path(asked["out"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
