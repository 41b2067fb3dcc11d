"""Problem folders: three that stand here, and those that a test writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gnomon.shadow.problems.folder import Problem

FOLDERS = Path(__file__).parent / "folders"
NAMES = ("valley", "packing", "words")

PROGRAM = """# EVOLVE-BLOCK-START
def answer():
    return 1.5
# EVOLVE-BLOCK-END
"""
EVALUATOR = """
import importlib.util

def load(path):
    spec = importlib.util.spec_from_file_location("program", path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program

def evaluate(path):
    return {"combined_score": load(path).answer()}
"""

Write = Callable[..., Problem]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a folder and read it as a problem."""

    def written(program: str = PROGRAM, evaluator: str = EVALUATOR, config: str = "") -> Problem:
        folder = tmp_path / "problem"
        folder.mkdir(exist_ok=True)
        (folder / "initial_program.py").write_bytes(program.encode())
        (folder / "evaluator.py").write_text(evaluator)
        if config:
            (folder / "config.yaml").write_text(config)
        return Problem.read(folder)

    return written


@pytest.fixture(params=NAMES)
def problem(request: pytest.FixtureRequest) -> Problem:
    """Each of the three."""
    return Problem.read(FOLDERS / request.param)


@pytest.fixture(scope="session")
def stock() -> Callable[[str], Problem]:
    """Return one of the three by its name."""
    return lambda name: Problem.read(FOLDERS / name)
