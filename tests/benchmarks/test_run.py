"""What ``make bench`` takes for a benchmark."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ..conftest import ROOT


def test_every_benchmark_can_be_run_and_its_parts_are_none(
    benchmark: Callable[[str], ModuleType],
) -> None:
    names = benchmark("run").names()
    assert {"demo", "hotpath", "policycache", "recorder", "replay"} <= set(names)
    for name in names:
        tree = ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert "run" in functions, f"benchmarks/{name}.py has no run(); name it _{name}.py"
        assert ast.get_docstring(tree), f"benchmarks/{name}.py does not say what it measures"


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--only", "hotpath,hothouse"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no such benchmark: hothouse" in done.stderr
    assert "hotpath" in done.stderr.splitlines()[-1]


def test_a_benchmark_that_fails_leaves_the_others_and_the_page(
    benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = benchmark("run")
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\n## hotpath\n\nas it was\n")
    monkeypatch.setattr(run.results, "DOCS", page)
    monkeypatch.setattr(run.results, "OUT", tmp_path)
    tried: list[str] = []

    def alone(name: str) -> bool:
        tried.append(name)
        if name == "hotpath":
            return False
        run.results.write(name, [])
        return True

    monkeypatch.setattr(run, "alone", alone)
    monkeypatch.setattr(sys, "argv", ["run.py", "--only", "hotpath,recorder"])
    with pytest.raises(SystemExit, match="failed: hotpath"):
        run.main()
    assert tried == ["hotpath", "recorder"]
    assert "as it was" in page.read_text()
    assert "## recorder" in page.read_text()
