"""From scores to a pick: one generated function that a hook calls per decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import ConfigurationError
from ..kind import NOISE, Kind
from ._program import Program
from ._runtime import namespace

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
    names = namespace()
    text = _text(program, kind)
    exec(compile(text, f"<chooser {program.source_digest[:12]}>", "exec"), names)  # noqa: S102
    choose: Chooser = names["_choose"]
    return choose


def scoring(program: Program, fail: str) -> tuple[str, list[str]]:
    """Return text that goes before a loop over rows, and the statements that score a row inside it.

    The statements read the inputs by name and leave the score in ``_value``, or run ``fail``. A call
    costs as much as a short score, so that a score stands in the loop where it can.

    Args:
        program: checked.
        fail: a statement that leaves the function.
    """
    inline = program.inlined(fail)
    if inline is not None:
        return inline
    call = f"_value = _score({', '.join(program.inputs)})"
    return program.lowered, [call, f"if _value != _value: {fail}"]


def sign(kind: Kind) -> str:
    """Return the comparison by which a score beats another."""
    return "<" if kind.order == "lowest" else ">"


def better(kind: Kind) -> str:
    """Return the condition under which a row beats the best so far, by ``_value`` and ``noise``."""
    return f"_value {sign(kind)} _best or _value == _best and {NOISE.name} < _tie"


def _text(program: Program, kind: Kind) -> str:
    before, statements = scoring(program, "return -1")
    body = "".join(f"  {line}\n" for line in statements)
    return (
        before
        + f"""\
def _choose(_rows):
 _index = _picked = -1
 for {", ".join(program.inputs)} in _rows:
  _index += 1
{body}\
  if not _index or {better(kind)}:
   _best = _value
   _tie = {NOISE.name}
   _picked = _index
 return _picked
"""
    )
