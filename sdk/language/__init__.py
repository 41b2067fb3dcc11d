"""The policy language: a small, total subset of Python that every policy is written in.

``check`` refuses whatever lies outside it, with line and reason, and never repairs. What it accepts is
lowered once, to text that both the Python tier here and the compiled tier of the shadow run, so that
they decide alike, bit for bit; the reference interpreter says what they ought to decide and why a
score faulted. Pure standard library, because it runs in the service.
"""

from ._canonical import canonical
from ._choose import chooser
from ._program import MAX_FUEL, MAX_NODES, Program, check
from ._vectors import Vectors, golden_vectors, replay_vectors, same_bits

__all__ = [
    "MAX_FUEL",
    "MAX_NODES",
    "Program",
    "Vectors",
    "canonical",
    "check",
    "chooser",
    "golden_vectors",
    "replay_vectors",
    "same_bits",
]
