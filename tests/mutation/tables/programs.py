"""Guards of the program form: arrays, what they may cost, and the contract."""

from __future__ import annotations

from .rows import PROGRAM, within

PROGRAMS = (
    *within(
        "sdk/language/_array_ops.py",
        PROGRAM,
        (
            "elements of a program",
            "        if number > self.fuel or number > self.elements:\n            raise Faulted",
            "        if number > self.fuel:\n            raise Faulted",
            "tests/language/test_program_form.py",
        ),
        (
            "arrays are finite",
            "    if not all(map(math.isfinite, values)):\n        raise Faulted\n    return values",
            "    return values",
            PROGRAM.format("infinity by adding up"),
        ),
    ),
    *within(
        "sdk/language/_array_lower.py",
        PROGRAM,
        (
            "fuel of a program",
            'return [f"_m.fuel -= {cost}", f"if _m.fuel < 0: {self.fail}"]',
            'return [f"_m.fuel -= {cost}"]',
            "a loop that only counts",
        ),
    ),
    *within(
        "sdk/language/_array_types.py",
        PROGRAM,
        (
            "inputs are not written",
            "        if parameter.name in entry.written and not parameter.writable:",
            "        if False:",
            "write into an input through a helper",
        ),
        (
            "an array has one name",
            "        if rank and isinstance(value, ast.Name):",
            "        if False:",
            "two names of one array",
        ),
        (
            "what was given is not returned",
            "        if rank and isinstance(node, ast.Name) and node.id in self._given:",
            "        if False:",
            "return an array that was given",
        ),
        (
            "a name keeps its rank",
            "        if self._names.setdefault(target.id, rank) != rank:",
            "        if self._names.setdefault(target.id, rank) != rank and False:",
            "a number that becomes an array",
        ),
        (
            "the entry returns what is asked",
            "    if found.results[contract.entry] != (0 if contract.returns else NOTHING):",
            "    if False:",
            "return what is not asked for",
        ),
    ),
    *within(
        "sdk/language/_array_grammar.py",
        PROGRAM,
        (
            "operations' names are taken",
            "        if name in ARRAY_RESERVED or name in operations:",
            "        if False:",
            "an operation's name as a local",
        ),
        (
            "no negative index",
            "        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):",
            "        if False:",
            "a negative index in the text",
        ),
        (
            "a named array is indexed",
            "        if not isinstance(node.value, ast.Name):",
            "        if False:",
            "tests/language/test_program_form.py",
        ),
    ),
    *within(
        "sdk/language/_arrays.py",
        PROGRAM,
        (
            "outputs are whole",
            "        if parameter.integer and any(map(_fraction, elements(terms[parameter.name]))):",
            "        if False:",
            "half a machine",
        ),
    ),
)
