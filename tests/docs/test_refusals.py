"""Every message that says no stands in the reference, with what to do; and nothing that no code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .pages import ROOT
from .refusals import CLASSES, GAP, Refusal, refusals, template

PAGE = ROOT / "docs" / "reference" / "refusals.md"
#: Classes that are never raised as such.
BASES = {"GnomonError", "CandidateError"}


def said(text: str) -> str:
    """Return what a message says before its remedy, as the page writes it."""
    return text.partition(";")[0].strip().replace("`", "'")


def rows() -> dict[str, str]:
    """Return the page's tables of errors: what is said, and what to do."""
    text = PAGE.read_text("utf-8")
    found = re.findall(
        r"^\| `([^`]+)` \| (.+) \|$", text[text.index("\n## Configuration") :], re.MULTILINE
    )
    return dict(found)


@pytest.mark.parametrize("error", sorted(CLASSES))
def test_every_message_is_in_the_reference(error: str) -> None:
    known = rows()
    missing = [refusal for refusal in refusals() if refusal.error == error]
    lines = [_row(refusal) for refusal in missing if said(refusal.text) not in known]
    assert not lines, f"add to {PAGE.name}, with what to do:\n" + "\n".join(sorted({*lines}))


def _row(refusal: Refusal) -> str:
    remedy = refusal.text.partition(";")[2].strip() or "?"
    return f"| `{said(refusal.text)}` | {remedy} |   <- {refusal.error}, {refusal.place}"


def test_nothing_is_explained_that_nobody_says() -> None:
    raised = {said(refusal.text) for refusal in refusals()}
    assert not sorted(set(rows()) - raised), "no code says this any more: take it out"


def test_every_row_says_what_to_do() -> None:
    for message, remedy in rows().items():
        assert len(remedy) > 2, message


def test_messages_are_found_where_there_are_any() -> None:
    """Were the search wrong, the tests above would hold nothing and pass."""
    assert len(refusals()) > 200
    assert {refusal.error for refusal in refusals()} >= CLASSES - BASES
    assert all(GAP not in refusal.error and refusal.text for refusal in refusals())


@pytest.mark.parametrize("heading", ["Orders that are refused", "Plans that are refused"])
def test_refused_orders_and_plans_are_what_the_code_says(heading: str) -> None:
    section = PAGE.read_text("utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rollout = "".join(p.read_text("utf-8") for p in (ROOT / "policies/rollout").glob("*.py"))
    plain = re.sub(r'"\s*\n\s*f?"', "", rollout)
    cells = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    causes = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert len(causes) > 3
    for cause in causes:
        for piece in cause.split(GAP):
            assert piece.strip(" ,;") in plain, f"no source says {piece!r}"


def _causes(path: Path) -> Iterator[str]:
    """Yield what transitions and pairs left out are said to come of."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case (
                ast.Call(func=ast.Attribute(attr="hold" | "abort"), args=[_, cause, *_])
                | ast.Call(func=ast.Name(id="Gap"), args=[cause, *_])
                | ast.Return(value=ast.JoinedStr() as cause)
                | ast.Assign(targets=[ast.Name(id="cause")], value=cause)
            ):
                yield template(cause)


@pytest.mark.parametrize(
    "modules", [("machine", "deciding", "orders"), ("evidence",), ("blocks",)], ids="-".join
)
def test_operations_name_every_cause(modules: tuple[str, ...]) -> None:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    paths = [ROOT / "policies" / "rollout" / f"{module}.py" for module in modules]
    causes = [cause for path in paths for cause in _causes(path)]
    assert len(causes) > 3
    for cause in causes:
        for piece in (part.strip(" ,;:()") for part in cause.split(GAP)):
            assert len(piece) < 9 or piece in text, f"operations.md does not explain {cause!r}"
