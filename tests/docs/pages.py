"""Reading the documentation: links, code blocks with what is said about them, command lines."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")],
    key=lambda page: str(page.relative_to(ROOT)),
)
IDS = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"<!-- (.+?) -->\n\Z")
_LINK = re.compile(r"\[[^\]\n]+\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`(gnomon [^`\n]+)`")
#: What ends a command within a line, redirections of its output included.
_PIECES = re.compile(r"(?<!\$\()(?:;|\||&&|\s\d?>)(?![^(]*\))")
_ENVIRONMENT = re.compile(r"[A-Z_]+=\S*")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: after the fence; may be empty, and of a directive it stands in braces.
        text: without the fences.
        note: the comment on the line before it; may be empty.
        line: of the fence, from 1.
    """

    language: str
    text: str
    note: str
    line: int

    @property
    def commands(self) -> list[str]:
        """What a reader types: lines after ``$``, with their continuations."""
        found: list[str] = []
        going_on = False
        for line in self.text.splitlines():
            if going_on:
                found[-1] += line.lstrip()
            elif line.startswith("$ "):
                found.append(line[2:])
            else:
                continue
            going_on = found[-1].endswith("\\")
            found[-1] = found[-1].removesuffix("\\")
        return found

    @property
    def exits(self) -> set[int]:
        """Exit codes that a run may end with."""
        allowed = re.search(r"may end with ([\d or]+)", self.note)
        return {0, *(int(code) for code in re.findall(r"\d", allowed[1] if allowed else ""))}


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text("utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        note = _NOTE.search(text[: fence.start()])
        line = text.count("\n", 0, fence.start()) + 1
        found.append(Block(fence[1], fence[2], note[1] if note else "", line))
    return [block for block in found if language in (None, block.language)]


def links(page: Path) -> list[str]:
    """Return the targets of all links outside of code."""
    return _LINK.findall(_FENCE.sub("", page.read_text("utf-8")))


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings make."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def typed_commands(page: Path) -> list[list[str]]:
    """Return the words of every whole ``gnomon`` command line in a page's blocks, without the name."""
    found = []
    for block in blocks(page):
        lines = block.commands or [
            line for line in block.text.splitlines() if line.startswith("gnomon ")
        ]
        for line in (part for each in lines for part in _PIECES.split(each.partition("#")[0])):
            words = shlex.split(line.rstrip("& ").replace("$(", "").replace(")", ""))
            while words and _ENVIRONMENT.fullmatch(words[0]):
                words = words[1:]
            if words[:1] == ["gnomon"]:
                found.append(words[1:])
    return found


def mentioned_commands(page: Path) -> list[list[str]]:
    """Return the words of every ``gnomon`` command that the text of a page mentions."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    found = [words.split()[1:] for words in _INLINE.findall(text)]
    return [words for words in found if not words[0].isupper()]  # COMMAND stands for any of them


def table_names(page: Path, heading: str) -> list[str]:
    """Return what stands in backquotes in the first cells of the tables below a heading."""
    section = re.search(
        rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)",
        page.read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert section, f"{page.name} has no heading {heading!r}"
    cells = [row.split("|")[1] for row in section[1].splitlines() if row.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
