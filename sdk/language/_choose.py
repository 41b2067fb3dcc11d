"""From scores to a pick: one generated function that a hook calls per decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import ConfigurationError
from ..kind import NOISE, Kind
from ._program import Program

Chooser = Callable[[Sequence[Sequence[float]]], int]


def chooser(program: Program, kind: Kind) -> Chooser:
    """Return a function from rows of features to the index of the picked one.

    The rows hold floats in the order of ``kind.inputs``. The pick has the lowest or highest score, as
    the kind orders; ties go to the lower noise, then to the lower index. Without rows, or when any
    score faults, it is -1. The function keeps no state, so threads may share it.

    Raises:
        ConfigurationError: the program was checked for other inputs than the kind's.
    """
    if program.inputs != kind.input_names:
        raise ConfigurationError(
            f"the program takes {', '.join(program.inputs)}, kind '{kind.name}' gives "
            f"{', '.join(kind.input_names)}; check it with the kind's inputs"
        )
    names = {"_score": program.bind(), "__builtins__": {}}
    exec(_text(kind), names)  # noqa: S102 - the text is ours and holds only the kind's identifiers
    choose: Chooser = names["_choose"]  # type: ignore[assignment]
    return choose


def _text(kind: Kind) -> str:
    columns = ", ".join(f"c{index}" for index in range(len(kind.input_names)))
    noise = f"c{kind.input_names.index(NOISE.name)}"
    better = "<" if kind.order == "lowest" else ">"
    return f"""\
def _choose(rows):
    index = picked = -1
    for {columns} in rows:
        score = _score({columns})
        index += 1
        if score != score:
            return -1
        if not index or score {better} best or score == best and {noise} < tie:
            best = score
            tie = {noise}
            picked = index
    return picked
"""
