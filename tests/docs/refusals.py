"""Reading the code for every message that says no: what is raised, with gaps where values stand."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gnomon.sdk import errors

from .pages import ROOT

ROOMS = ("api", "sdk", "recorder", "policies", "shadow", "commands")
CLASSES = {name for name, value in vars(errors).items() if isinstance(value, type)}
GAP = "…"


@dataclass(frozen=True)
class Refusal:
    """A message that some line raises.

    Attributes:
        error: name of its class.
        text: the message, with a gap where a value stands.
        place: file and line.
    """

    error: str
    text: str
    place: str


def template(node: ast.expr) -> str:
    """Return an expression's text with gaps; a gap alone where it is no text."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            template(part) if isinstance(part, ast.Constant) else GAP for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return GAP


def _raised(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        # Raised where it is made, or made for somebody who raises it.
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in CLASSES:
                yield name, node


@cache
def refusals() -> list[Refusal]:
    """Return every message that is raised on purpose and written where its error is made."""
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    paths += [ROOT / "cli.py", ROOT / "testing.py", ROOT / "__init__.py"]
    return [found for path in paths for found in _of(path)]


def _of(path: Path) -> Iterator[Refusal]:
    for name, call in _raised(ast.parse(path.read_text("utf-8"))):
        text = template(call.args[0])
        if text.strip(GAP + " :;,"):
            place = f"{path.relative_to(ROOT)}:{call.lineno}"
            yield Refusal(name, text.replace(GAP + GAP, GAP), place)
