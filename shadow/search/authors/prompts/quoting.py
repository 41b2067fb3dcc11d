"""Making text from outside harmless: what a program said is shown as data, bounded, without controls.

Untrusted are error messages, artifacts, feedback, comments and names in programs. Whatever they say, a
line of theirs can neither end the place that it stands in nor look like a heading of the prompt's own.
"""

from __future__ import annotations

import math
import unicodedata

MARK = "| "
_CUT = " [cut]"
#: Controls, formats (bidirectional ones and those of no width among them), halves of pairs, private use.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: str, most: int) -> str:
    """Return a text without what does not show, at most so many characters long; the cut is marked."""
    if len(text) > most:
        text = text[: max(most - len(_CUT), 0)] + _CUT
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in _HIDDEN else "?" for c in text
    )


def line(text: str, most: int) -> str:
    """Return a text as one visible line."""
    return " ".join(visible(text, most).split())


def quoted(text: str) -> str:
    """Return a text with every line marked as data."""
    return "\n".join(MARK + each for each in text.rstrip("\n").split("\n"))


def fenced(source: str) -> str:
    """Return a program in a code fence that none of its lines can end."""
    fence = "`" * max(3, _longest_run(source) + 1)
    return f"{fence}python\n{source.rstrip()}\n{fence}"


def _longest_run(text: str) -> int:
    longest = run = 0
    for char in text if "```" in text else "":
        run = run + 1 if char == "`" else 0
        longest = max(longest, run)
    return longest


def number(value: float) -> str:
    """Return a number for people: six digits; what has none says so."""
    return f"{value:.6g}" if math.isfinite(value) else "unknown"
