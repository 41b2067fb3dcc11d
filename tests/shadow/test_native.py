"""Kernels that are kept on disk count as long as what they were compiled from is the same."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gnomon.shadow.simulators import native

HOUSE = Path(__file__).resolve().parents[2]
#: A folder of each room that is looked into.
KEPT = ("shadow/simulators/base.py", "shadow/simulators/cache/kernel.py", "shadow/traces/trace.py")
KEPT += ("policies/cache.py",)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A package of a few files."""
    for name in (*KEPT, "policies/rollout/control.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("LIMIT = 1\n")
    return tmp_path


def digest(house: Path) -> str:
    return native.sources.__wrapped__(house)


@pytest.mark.parametrize("name", KEPT)
def test_a_kernel_is_compiled_anew_where_a_source_has_changed(house: Path, name: str) -> None:
    before = digest(house)
    (house / name).write_text("LIMIT = 2\n")
    assert digest(house) != before


def test_a_change_of_the_control_plane_compiles_nothing_anew(house: Path) -> None:
    before = digest(house)
    (house / "policies/rollout/control.py").write_text("LIMIT = 2\n")
    assert digest(house) == before


def test_nothing_that_a_kernel_is_compiled_from_is_left_out() -> None:
    """Nothing in those rooms needs the part of them that is not looked at."""
    left_out = HOUSE / native._ELSEWHERE
    rooms = [path for room in native._ROOMS for path in (HOUSE / room).rglob("*.py")]
    files = [path for path in rooms if not path.is_relative_to(left_out)]
    assert len(files) > 40 and len(files) < len(rooms)
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                words = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                assert left_out.name not in words, path
