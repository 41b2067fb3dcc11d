"""From what a writer answered to a whole program: a rewrite in a code fence, a bare one, or a diff.

Nothing of an answer is run or believed here: what comes out is a text, which the language check judges.
Everything takes time linear in answer and program.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import indent

from ..records import Assignment
from .blocks import END, START, Marked, marked
from .diffs import EditError, applied, begins_block, blocks

#: Characters of an answer that are looked at; a longer one is refused whole.
MOST_ANSWER = 400_000
_MOST_DEPTH = 8  # of fences within fences; every line is kept for each of them
_PROSE = frozenset({"markdown", "md", "text", "txt", "plaintext"})
_CODE = ("def ", "import ", "class ", "async def ", "@", '"""', "'''", START)


@dataclass(frozen=True, slots=True)
class Edited:
    """What an answer comes to.

    Attributes:
        source: the whole program; empty when there is none.
        error: why there is none, in words for who wrote the answer; else empty.
    """

    source: str = ""
    error: str = ""


def edited(answer: str, parent: str = "") -> Edited:
    """Return the program that an answer comes to.

    Args:
        answer: of a model, an agent or a person: a whole program, fenced or bare, or SEARCH/REPLACE blocks.
        parent: the program that was to be changed; empty when one was to be written anew. Where it has
            ``EVOLVE-BLOCK`` marks, all outside the blocks stays as it is, to the byte.
    """
    try:
        return Edited(_program(answer, parent))
    except EditError as error:
        return Edited(error=str(error))


def read(answer: str, assignment: Assignment) -> tuple[str, str]:
    """Return the whole program that an answer to an assignment comes to and '', or '' and why there is none."""
    found = edited(answer, assignment.parent.source if assignment.parent is not None else "")
    return found.source, found.error


def _program(answer: str, parent: str) -> str:
    text = _readable(answer)
    frame = marked(parent)
    if frame is None:
        raise EditError("the program to change has EVOLVE-BLOCK marks that do not match")
    if any(map(begins_block, text.split("\n"))):
        if not parent:
            raise EditError("SEARCH/REPLACE blocks without a program to change; write it whole")
        source = applied(blocks(text), parent)
        _require_frame(source, frame)
    else:
        code = _code(text)
        crlf = "\r\n" in parent
        code = code.replace("\n", "\r\n") if crlf else code
        source = _framed(code, frame) if frame.inside else code
    if parent and _same(source, parent):
        raise EditError("unchanged: the answer is the program that was to be changed")
    return source


def _readable(answer: str) -> str:
    """Return an answer with plain line ends and without its reasoning."""
    if len(answer) > MOST_ANSWER:
        raise EditError(f"the answer has {len(answer)} characters, at most {MOST_ANSWER} are read")
    if "\0" in answer:
        raise EditError("the answer holds a NUL character")
    try:
        answer.encode()
    except UnicodeEncodeError:
        raise EditError("the answer is no Unicode text") from None
    text = answer.replace("\r\n", "\n").replace("\r", "\n")
    if not text.lstrip().startswith("<think>"):
        return text
    _, ended, rest = text.partition("</think>")
    if not ended:
        raise EditError("the answer was cut: its reasoning does not end")
    return rest


def _same(source: str, parent: str) -> bool:
    return [line.rstrip() for line in source.rstrip().split("\n")] == [
        line.rstrip() for line in parent.rstrip().split("\n")
    ]


@dataclass(slots=True)
class _Fence:
    """A code fence, while it is read."""

    char: str
    length: int
    tag: str
    indent: int
    lines: list[str] = field(default_factory=list)
    inner: list[_Fence] = field(default_factory=list)


def _code(text: str) -> str:
    """Return the program in an answer that is no diff."""
    lines = text.split("\n")
    top, still_open = _fences(lines)
    if still_open is not None:
        before = lines[: len(lines) - len(still_open.lines) - 1]
        if top or still_open.tag or not _begins_code(before):
            raise EditError("the answer was cut: its code fence does not end")
        return _ended(before)  # a completion of a prompt that opened the fence
    found = [fence for outer in top for fence in _programs(outer)]
    if not found:
        return _bare(lines)
    defining = [fence for fence in found if _defines(fence.lines)]
    if not defining and len(found) > 1:
        raise EditError(f"none of the answer's {len(found)} code fences defines a function")
    return _ended((defining or found)[-1].lines)


def _fences(lines: list[str]) -> tuple[list[_Fence], _Fence | None]:
    """Return the outermost fences, and the one that is still open at the end."""
    top: list[_Fence] = []
    stack: list[_Fence] = []
    for line in lines:
        mark = _fence_of(line)
        inside = stack[-1] if stack else None
        if mark is None or (inside is not None and mark.indent > inside.indent + 3):
            _keep(stack, line)
        elif inside is None or (mark.tag and len(stack) < _MOST_DEPTH):
            _keep(stack, line)
            stack.append(mark)
        elif mark.char == inside.char and mark.length >= inside.length:
            stack.pop()
            (stack[-1].inner if stack else top).append(inside)
            _keep(stack, line)
        else:
            _keep(stack, line)
    return top, stack[0] if stack else None


def _keep(stack: list[_Fence], line: str) -> None:
    """Give a line to every open fence."""
    for fence in stack:
        fence.lines.append(line)


def _fence_of(line: str) -> _Fence | None:
    text = line.strip()
    char = text[:1]
    if char not in ("`", "~") or not text.startswith(char * 3):
        return None
    rest = text.lstrip(char)
    if char in rest:
        return None
    indent = len(line) - len(line.lstrip())
    return _Fence(char, len(text) - len(rest), rest.strip(), indent)


def _programs(fence: _Fence) -> list[_Fence]:
    """Return the fences that hold a program: this one, or those within it if it holds prose."""
    if fence.tag.lower() not in _PROSE:
        return [fence]
    return [found for inner in fence.inner for found in _programs(inner)]


def _bare(lines: list[str]) -> str:
    """Return a program that stands in no fence: all from its first line on."""
    for index, line in enumerate(lines):
        if line.startswith(_CODE) or (line.startswith("from ") and " import " in line):
            rest = lines[index:]
            if _defines(rest):
                return _ended(rest)
    raise EditError("no program in the answer: no code fence, no SEARCH/REPLACE block, no def")


def _begins_code(lines: list[str]) -> bool:
    first = next((line for line in lines if line.strip()), "")
    return first.startswith((*_CODE, " ", "\t")) and any(line.strip() for line in lines)


def _defines(lines: list[str]) -> bool:
    starts = ("def ", "class ", "async def ")
    return any(line.lstrip().startswith(starts) for line in lines)


def _ended(lines: list[str]) -> str:
    """Return lines as a text without blank lines around it and without what all are indented by."""
    full = [line for line in lines if line.strip()]
    margin = min((len(line) - len(line.lstrip()) for line in full), default=0)
    text = "\n".join(line[margin:] for line in lines).strip("\n")
    if not text.strip():
        raise EditError("the answer's program is empty")
    return text.rstrip() + "\n"


def _require_frame(source: str, frame: Marked) -> None:
    """Refuse a program that is other than it was outside its blocks."""
    found = marked(source)
    if found is None or len(found.fixed) != len(frame.fixed):
        raise EditError(f"the lines {START} and {END} have to stay as they are")
    if frame.inside and found.fixed != frame.fixed:
        raise EditError(f"only what stands between {START} and {END} may change")


def _framed(code: str, frame: Marked) -> str:
    """Return a rewrite, which may be the whole program or what is in its only block, in the frame."""
    found = marked(code)
    if found is None:
        raise EditError(f"the lines {START} and {END} do not match each other")
    if not found.inside:
        return _only_block(code, frame)
    if len(found.inside) != len(frame.inside):
        raise EditError(
            f"{len(found.inside)} blocks between {START} and {END}, the program has {len(frame.inside)}"
        )
    for mine, theirs in zip(frame.fixed, found.fixed, strict=True):
        if not _same(mine, theirs):
            raise EditError(f"only what stands between {START} and {END} may change")
    return frame.joined(found.inside)


def _only_block(code: str, frame: Marked) -> str:
    if len(frame.inside) > 1:
        raise EditError(f"the program has {len(frame.inside)} blocks: keep the lines {START}")
    lines = set(code.split("\n"))
    repeated = [
        line
        for part in frame.fixed
        for line in part.split("\n")
        if line.startswith(("def ", "class ")) and line in lines
    ]
    if repeated:
        raise EditError(f"the whole program without its lines {START} and {END}: keep them")
    mark = frame.fixed[0].splitlines()[-1]
    margin = mark[: len(mark) - len(mark.lstrip())]
    return frame.joined((indent(code, margin),))
