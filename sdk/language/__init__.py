"""The policy language: a small, total subset of Python that every policy is written in.

``check`` refuses whatever lies outside it, with line and reason, and never repairs. What it accepts is
lowered once, to text that both the Python tier here and the compiled tier of the shadow run, so that
they decide alike, bit for bit; the reference interpreter says what they ought to decide and why a
score faulted. Pure standard library, because it runs in the service.

``check_program`` does the same for the program form: functions over a host's arrays, for decisions
made rarely; there the Python tier and the reference are all there is.
"""

from ._canonical import canonical
from ._cases import Case, golden_arguments, golden_cases, replay_cases, same_answer
from ._choose import chooser
from ._contract import HostOperation, Parameter, ProgramContract
from ._program import MAX_FUEL, MAX_NODES, Program, check, examine
from ._program_form import Answer, ArrayProgram, check_program
from ._text import syntax_tree, walk
from ._vectors import Vectors, golden_vectors, replay_vectors, same_bits

__all__ = [
    "MAX_FUEL",
    "MAX_NODES",
    "Answer",
    "ArrayProgram",
    "Case",
    "HostOperation",
    "Parameter",
    "Program",
    "ProgramContract",
    "Vectors",
    "canonical",
    "check",
    "check_program",
    "chooser",
    "examine",
    "golden_arguments",
    "golden_cases",
    "golden_vectors",
    "replay_cases",
    "replay_vectors",
    "same_answer",
    "same_bits",
    "syntax_tree",
    "walk",
]
