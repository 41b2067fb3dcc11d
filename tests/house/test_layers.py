"""The one-way rule between the rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "sdk": {"proto"},
    "recorder": {"sdk", "proto"},
    "policies": {"sdk", "proto"},
    "shadow": {"sdk", "proto", "recorder", "policies"},
}
FOLDER = {"v1": "proto"}


def imported(path: Path, root: Path = ROOT) -> set[str]:
    """Return the rooms that a module imports, relative and absolute imports alike."""
    package = ("gnomon", *path.relative_to(root).parent.parts)
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module or "").split("."))).strip(".")
            names |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    rooms = {name.split(".")[1] for name in names if name.startswith("gnomon.")}
    return {FOLDER.get(room, room) for room in rooms}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_one_way(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        wrong = imported(path) - MAY_IMPORT[room] - {room}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize(
    ("line", "room"),
    [
        ("from ..shadow.trace import Trace", "shadow"),
        ("from .. import recorder", "recorder"),
        ("import gnomon.policies.registry", "policies"),
        ("from gnomon.v1 import policy_pb2", "proto"),
        ("def late():\n    from ..commands import ship", "commands"),
    ],
)
def test_a_wrong_import_is_seen(tmp_path: Path, line: str, room: str) -> None:
    (tmp_path / "sdk").mkdir()
    module = tmp_path / "sdk" / "module.py"
    module.write_text(line + "\n")
    assert imported(module, tmp_path) == {room}
