"""Guards of the policy language: what is refused, and what runs as it reads."""

from __future__ import annotations

from .rows import CELLS, CHECK, within

GRAMMAR = within(
    "sdk/language/_grammar.py",
    CHECK,
    (
        "an unknown node is refused",
        "        refuse(node, _described(node))\n\n    # statements",
        "        pass\n\n    # statements",
        "a slice",
    ),
    (
        "the top level is declarations",
        "        elif not (_is_import_math(node) or (index == 0 and _is_docstring(node))):",
        "        elif False:",
        "work at import",
    ),
    ("no decorators", "    if function.decorator_list:", "    if False:", "decorate"),
    (
        "plain parameters",
        "    if not plain or arguments.vararg or arguments.kwarg:",
        "    if False:",
        "a default",
    ),
    (
        "a parameter has its own name",
        "        if sum(other.arg == argument.arg for other in arguments.args) > 1:",
        "        if False:",
        "tests/hostile/test_cells.py::test_a_refusal_says_which_parameter_comes_twice",
    ),
    (
        "annotations are float",
        '    if node is not None and not (isinstance(node, ast.Name) and node.id == "float"):',
        "    if False:",
        "an annotation that runs",
    ),
    ("reserved names", "    if name in RESERVED:\n", "    if False:\n", "a local builtin"),
    (
        "no underscores",
        '    if name.startswith("_"):',
        "    if False:",
        "an underscore",
    ),
    (
        "a local is no name of the module",
        "            if name in found.functions or name in found.constants:\n                refuse(node, f",
        "            if False:\n                refuse(node, f",
        "a constant as a local",
    ),
    (
        "constants are numbers",
        "        if not isinstance(value, bool | int | float):",
        "        if False:",
        "bytes",
    ),
    (
        "whole constants are exact",
        "        if isinstance(value, int) and abs(value) > WHOLE_LIMIT:",
        "        if False:",
        "a number that no float holds",
    ),
    (
        "constants are finite",
        "        if not math.isfinite(value):",
        "        if False:",
        "infinite constant",
    ),
    (
        "names are known",
        "        refuse(node, f\"unknown name '{node.id}'\")",
        "        return",
        "tests/language/test_grammar.py",
    ),
    (
        "attributes are those of math",
        '        if name is None:\n            refuse(node, f"attribute',
        '        if False:\n            refuse(node, f"attribute',
        "tests/language/test_grammar.py",
    ),
    (
        "numbers of math",
        "        if name not in MATH_CONSTANTS:",
        "        if False:",
        "infinity of math",
    ),
    ("functions of math", "        if name not in MATH:", "        if False:", "a factorial"),
    (
        "methods are refused",
        '        if name is None:\n            refuse(node, f"method',
        '        if False:\n            refuse(node, f"method',
        "tests/language/test_grammar.py",
    ),
    (
        "no keyword arguments",
        '        if node.keywords:\n            refuse(node, "keyword',
        '        if False:\n            refuse(node, "keyword',
        "a keyword argument",
    ),
    (
        "the number of arguments",
        "        if not fewest <= len(node.args) <= most:",
        "        if False:",
        "too many arguments",
    ),
    (
        "functions are on the list",
        "            refuse(node, f\"'{name}' is not an allowed function\")",
        "            pass",
        "evaluate text",
    ),
    (
        "operators of two",
        '        if not isinstance(node.op, _BINARY):\n            refuse(node, f"operator {_described(node.op)}")\n        self.visit(node.left)',
        "        self.visit(node.left)",
        "bits",
    ),
    (
        "operators of one",
        "        if not isinstance(node.op, _UNARY):",
        "        if False:",
        "invert",
    ),
    (
        "comparisons",
        "            if not isinstance(operator, _COMPARE):",
        "            if False:",
        "is",
    ),
    (
        "loops run over range",
        '        if not called or iterable.func.id != "range":',
        "        if False:",
        "a loop over a list",
    ),
    (
        "loops are not too deep",
        '        if self._loops == MAX_LOOP_DEPTH:\n            refuse(node, f"loops nested deeper than {MAX_LOOP_DEPTH}")\n        self._loops += 1\n        self.check',
        "        self._loops += 1\n        self.check",
        "deep loops",
    ),
    (
        "one for in a generator",
        "        if len(node.generators) != 1 or node.generators[0].is_async:",
        "        if False:",
        "a nested generator",
    ),
    (
        "math is imported",
        "        if not self._found.imports_math:",
        "        if False:",
        "math without import",
    ),
    (
        "folds take displays",
        '            refuse(node, f"{name} takes a tuple, list or generator display")',
        "            pass",
        "a star argument",
    ),
)

LANGUAGE = (
    *within(
        "sdk/language/_text.py",
        CHECK,
        ("printable ASCII", r'r"[^\n\t\x20-\x7e]|__"', r'r"\x00|__"', "right to left"),
        (
            "no double underscores",
            r'r"[^\n\t\x20-\x7e]|__"',
            r'r"[^\n\t\x20-\x7e]"',
            "a dunder in a comment",
        ),
        (
            "the length of a source",
            "    if len(source) > MAX_BYTES:",
            "    if False:",
            "a very long name",
        ),
        (
            "brackets are not too deep",
            "            if level > MAX_DEPTH:",
            "            if False:",
            "tests/language/test_grammar.py",
        ),
        (
            "statements are not too deep",
            "        if depth(statement) > MAX_DEPTH:",
            "        if False:",
            "deep blocks",
        ),
    ),
    *within(
        "sdk/language/_program.py",
        CHECK,
        ("the number of nodes", "    if nodes > max_nodes:", "    if False:", "very many lines"),
        (
            "fuel of every call",
            "    if analysis.costs[entry].straight > max_fuel:",
            "    if False:",
            "calls that double",
        ),
        (
            "the entry takes features",
            "        if argument.arg not in inputs:",
            "        if False:",
            "ask for what is not there",
        ),
        (
            "a kind's names are identifiers",
            "        if not usable or name.startswith",
            "        if name.startswith",
            "tests/language/test_grammar.py",
        ),
    ),
    *within(
        "sdk/language/_analysis.py",
        CHECK,
        (
            "no recursion",
            "        if name in open_:",
            "        if False:",
            "tests/language/test_grammar.py",
        ),
        (
            "calls are not too deep",
            "        if levels[name] > MAX_CALL_DEPTH:",
            "        if False:",
            "deep calls",
        ),
    ),
    *within(
        "sdk/language/_flow.py",
        CHECK,
        (
            "assigned before it is read",
            "            if node.id not in state:",
            "            if False:",
            "read before assigned",
        ),
        (
            "every path returns",
            "    if end is not None and not may_end:",
            "    if False:",
            "a path without an end",
        ),
    ),
    *within(
        "sdk/language/_expressions.py",
        "{}",
        (
            "fuel of a loop",
            'return [f"_fuel -= {cost}", f"if _fuel < 0: {self.fail}"]',
            'return [f"_fuel -= {cost}"]',
            CELLS + "test_a_loop_beyond_its_fuel_gives_no_number",
        ),
        (
            "no division by zero",
            'self.emit(f"if {test}: {self.fail}")',
            "pass",
            "tests/language/test_semantics.py",
        ),
        (
            "what a function takes lies in its domain",
            'self.emit(f"if not {below}{argument}{above}: {self.fail}")',
            "pass",
            "tests/language/test_semantics.py",
        ),
        (
            "whole results are exact",
            'self.emit(f"if not -{_WHOLE} <= {name} <= {_WHOLE}: {self.fail}")',
            "pass",
            "tests/language/test_semantics.py",
        ),
        (
            "numbers are finite",
            'self.emit(f"if {name} - {name} != 0.0: {self.fail}")',
            "pass",
            "tests/language/test_semantics.py",
        ),
    ),
)
