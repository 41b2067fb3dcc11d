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


def _text(program: Program, kind: Kind) -> str:
    # A call costs as much as a short score, so that a score stands in the loop where it can.
    inline = program.inlined()
    if inline is None:
        columns = ", ".join(f"_c{index}" for index in range(len(program.inputs)))
        noise = f"_c{program.inputs.index(NOISE.name)}"
        statements = [f"_value = _score({columns})", "if _value != _value: return -1"]
        return program.lowered + _loop(columns, noise, statements, kind)
    before, statements = inline
    return before + _loop(", ".join(program.inputs), NOISE.name, statements, kind)


def _loop(columns: str, noise: str, statements: list[str], kind: Kind) -> str:
    better = "<" if kind.order == "lowest" else ">"
    body = "".join(f"  {line}\n" for line in statements)
    return f"""\
def _choose(_rows):
 _index = _picked = -1
 for {columns} in _rows:
  _index += 1
{body}\
  if not _index or _value {better} _best or _value == _best and {noise} < _tie:
   _best = _value
   _tie = {noise}
   _picked = _index
 return _picked
"""
