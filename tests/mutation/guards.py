"""Every guard, and what takes it away; each has tests that must then fail.

A guard whose text has changed has to be found in its table again: a mutant that cannot be made is a failure.
"""

from __future__ import annotations

from .harness import Mutant
from .tables.delivery import DELIVERY
from .tables.gates import GATES
from .tables.host import HOST
from .tables.kernel import KERNEL
from .tables.language import GRAMMAR, LANGUAGE
from .tables.programs import PROGRAMS
from .tables.service import SERVICE

MUTANTS: tuple[Mutant, ...] = (
    *GRAMMAR,
    *LANGUAGE,
    *PROGRAMS,
    *KERNEL,
    *HOST,
    *SERVICE,
    *DELIVERY,
    *GATES,
)
