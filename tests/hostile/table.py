"""The corpus as the tables of ``docs/reference/hostile.md``.

With the repository's root on ``sys.path``, ``python -m tests.hostile.table`` writes them anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .attack import LAYERS, Attack
from .corpus import CORPUS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "hostile.md"
BEGIN = "<!-- generated from tests/hostile; do not edit -->"
_TITLES = {
    "score": "Sources in score form",
    "program": "Sources in program form",
    "raw": "Programs past the language check",
    "frame": "Processes that were taken over",
    "answer": "Answers in a service",
    "delivery": "What is sent to a service",
}


def generated() -> str:
    """Return everything on the page from :data:`BEGIN` on."""
    return "\n".join((BEGIN, "", *_layers(), *_attacks(), ""))


def _layers() -> Iterator[str]:
    yield f"{len(CORPUS)} attacks, and by how many each layer is met first:"
    yield ""
    yield from ("| layer | first | what it does |", "|---|---|---|")
    for layer, does in LAYERS.items():
        first = sum(attack.stopped_by == layer for attack in CORPUS)
        yield f"| {layer} | {first or ''} | {does} |"


def _attacks() -> Iterator[str]:
    for form, title in _TITLES.items():
        yield from ("", f"## {title}", "")
        yield from ("| attack | after | first layer | without it |", "|---|---|---|---|")
        yield from (_row(attack) for attack in CORPUS if attack.form == form)


def _row(attack: Attack) -> str:
    name = f"{attack.name} ({attack.under})" if attack.under else attack.name
    cells = (name, attack.aims, attack.stopped_by, ", ".join(attack.also))
    return f"| {' | '.join(cells)} |"


def page() -> str:
    """Return the whole page as it should be."""
    return PAGE.read_text("utf-8").partition(BEGIN)[0] + generated()


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
