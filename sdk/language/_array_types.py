"""Ranks: every expression is a number, a vector or a matrix, and that is known before it runs.

A name has one rank, and an array has one name: arrays are never aliased by assignment, so that who
writes where can be read from the source. Expressions have no effects: a helper that writes into an
array it was given returns nothing and is called as a statement.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from ._analysis import Analysis
from ._array_table import RANKS, described, result_rank
from ._contract import HostOperation, ProgramContract
from ._grammar import body_of, refuse
from ._names import BUILTINS
from ._text import children

#: What a function gives that returns nothing.
NOTHING = -1


@dataclass(slots=True)
class Ranks:
    """What the tiers need to know of a typed source.

    Attributes:
        arrays: rank of each expression that is an array, by the identity of its node.
        operations: identities of the calls that are operations on arrays or of the host's.
        parameters: ranks of the parameters of each function that is ever called.
        results: rank of what these functions give, or ``NOTHING``.
        writes: which of a function's parameters it writes into, by position.
    """

    arrays: dict[int, int] = field(default_factory=dict)
    operations: set[int] = field(default_factory=set)
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    results: dict[str, int] = field(default_factory=dict)
    writes: dict[str, frozenset[int]] = field(default_factory=dict)


def infer(analysis: Analysis, contract: ProgramContract) -> Ranks:
    """Return the ranks of all that the entry reaches, or raise LanguageError."""
    found = Ranks()
    function = analysis.functions[contract.entry]
    known = {parameter.name: parameter for parameter in contract.parameters}
    for argument in function.args.args:
        if argument.arg not in known:
            names = ", ".join(known)
            refuse(argument, f"'{argument.arg}' is no parameter of this kind; there are {names}")
    named = [known[argument.arg] for argument in function.args.args]
    host = {operation.name: operation for operation in contract.operations}
    entry = _Function(analysis, host, found, function)
    entry.infer(tuple(parameter.rank for parameter in named))
    if found.results[contract.entry] != (0 if contract.returns else NOTHING):
        wanted = "a number" if contract.returns else "nothing"
        refuse(function, f"'{contract.entry}' must return {wanted}")
    for parameter in named:
        if parameter.name in entry.written and not parameter.writable:
            node = entry.written[parameter.name]
            refuse(node, f"'{parameter.name}' is an input and may not be written; copy it first")
    return found


class _Function:
    """Infers the ranks of one function, given those of its parameters."""

    def __init__(
        self,
        analysis: Analysis,
        host: dict[str, HostOperation],
        found: Ranks,
        function: ast.FunctionDef,
    ) -> None:
        self._analysis = analysis
        self._host = host
        self._found = found
        self._function = function
        self._names: dict[str, int] = {}
        self._given: frozenset[str] = frozenset()
        self._result: int | None = None
        self.written: dict[str, ast.AST] = {}

    def infer(self, ranks: tuple[int, ...]) -> None:
        """Note the ranks of everything in the function."""
        arguments = self._function.args.args
        for argument, rank in zip(arguments, ranks, strict=True):
            if rank and argument.annotation is not None:
                refuse(argument, f"'{argument.arg}' is a {RANKS[rank]}, not a float")
            self._names[argument.arg] = rank
        self._given = frozenset(name for name, rank in self._names.items() if rank)
        self._block(body_of(self._function))
        name = self._function.name
        self._found.parameters[name] = ranks
        self._found.results[name] = NOTHING if self._result is None else self._result
        self._found.writes[name] = frozenset(
            index for index, argument in enumerate(arguments) if argument.arg in self.written
        )

    # statements

    def _block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Return():
                self._return(node)
            case ast.Expr(value=ast.Call() as call):
                if self._call(call) != NOTHING:
                    refuse(node, "the value of the call is not used; assign it to a name")
            case ast.Assign():
                self._assign(node)
            case ast.AnnAssign(value=ast.expr() as value, target=target):
                self._number(value, "a value annotated as float")
                self._bind(target, value, 0)
            case ast.AugAssign():
                self._augment(node)
            case ast.If() | ast.While():
                self._number(node.test, "a condition", hint="; see any and all")
                self._block(node.body)
                self._block(node.orelse)
            case ast.For():
                self._range(node.iter)
                self._bind(node.target, node.iter, 0)
                self._block(node.body)

    def _return(self, node: ast.Return) -> None:
        rank = NOTHING if node.value is None else self._fresh(node.value)
        if self._result not in (None, rank):
            refuse(node, f"'{self._function.name}' returns different things on different paths")
        self._result = rank

    def _assign(self, node: ast.Assign) -> None:
        if isinstance(node.value, ast.Tuple):
            values = node.value.elts
            ranks = [self._rank(value) for value in values]
            for target in node.targets:
                assert isinstance(target, ast.Tuple)
                for part, value, rank in zip(target.elts, values, ranks, strict=True):
                    self._bind(part, value, rank)
        else:
            rank = self._rank(node.value)
            for target in node.targets:
                self._bind(target, node.value, rank)
            values, ranks = [node.value], [rank]
        if len(node.targets) > 1 and any(ranks):
            refuse(node, "an array is assigned to one name; use copy")

    def _bind(self, target: ast.expr, value: ast.expr, rank: int) -> None:
        if isinstance(target, ast.Subscript):
            self._put(target, rank)
            return
        assert isinstance(target, ast.Name)
        if target.id in self._given:
            refuse(target, f"'{target.id}' was given as an array; write into it, or copy it")
        if self._names.setdefault(target.id, rank) != rank:
            was = RANKS[self._names[target.id]]
            refuse(target, f"'{target.id}' is a {was} and cannot become a {RANKS[rank]}")
        if rank:
            self._found.arrays[id(target)] = rank
        if rank and isinstance(value, ast.Name):
            refuse(value, f"'{value.id}' would have two names; write copy({value.id})")

    def _put(self, target: ast.Subscript, rank: int) -> None:
        wanted = self._rank(target)
        if rank not in (0, wanted):
            refuse(target, f"a {RANKS[rank]} does not fit where a {RANKS[wanted]} is written")
        self._write(target.value)

    def _write(self, node: ast.expr) -> None:
        if isinstance(node, ast.Name) and node.id in self._given:
            self.written.setdefault(node.id, node)

    def _augment(self, node: ast.AugAssign) -> None:
        wanted, rank = self._rank(node.target), self._rank(node.value)
        if rank not in (0, wanted):
            refuse(node, f"a {RANKS[rank]} cannot be combined into a {RANKS[wanted]}")
        if isinstance(node.target, ast.Subscript):
            self._write(node.target.value)
        elif wanted:
            self._write(node.target)

    # expressions

    def _fresh(self, node: ast.expr) -> int:
        rank = self._rank(node)
        if rank and isinstance(node, ast.Name) and node.id in self._given:
            refuse(node, f"'{node.id}' was given and cannot be returned; write copy({node.id})")
        return rank

    def _number(self, node: ast.expr, what: str, hint: str = "") -> None:
        rank = self._rank(node)
        if rank:
            refuse(node, f"{what} is a number, not a {RANKS[rank]}{hint}")

    def _rank(self, node: ast.expr) -> int:
        rank = self._infer(node)
        if rank == NOTHING:
            refuse(node, "a function that returns nothing has no value")
        if rank:
            self._found.arrays[id(node)] = rank
        return rank

    def _infer(self, node: ast.expr) -> int:
        match node:
            case ast.Name():
                return self._names.get(node.id, 0)
            case ast.BinOp():
                return self._pair(node, self._rank(node.left), self._rank(node.right))
            case ast.Compare(ops=[_], comparators=[right]):
                return self._pair(node, self._rank(node.left), self._rank(right))
            case ast.UnaryOp(op=ast.USub()):
                return self._rank(node.operand)
            case ast.Call():
                return self._call(node)
            case ast.Subscript():
                return self._indexed(node)
            case ast.GeneratorExp():
                return self._generator(node)
        for child in children(node):
            if isinstance(child, ast.expr):
                self._number(child, "an operand of this expression", hint="; see where")
        return 0

    def _pair(self, node: ast.expr, left: int, right: int) -> int:
        if left and right and left != right:
            refuse(node, "a vector and a matrix cannot be combined")
        return max(left, right)

    def _indexed(self, node: ast.Subscript) -> int:
        rank = self._rank(node.value)
        if isinstance(node.slice, ast.Slice):
            for bound in (node.slice.lower, node.slice.upper):
                if bound is not None:
                    self._number(bound, "a bound of a slice")
            return self._sliced(node, rank)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for part in parts:
            self._number(part, "an index", hint="; see take")
        if len(parts) > rank:
            refuse(node, f"a {RANKS[rank]} does not have {len(parts)} indices")
        return rank - len(parts)

    def _sliced(self, node: ast.Subscript, rank: int) -> int:
        stored = isinstance(node.ctx, ast.Store)
        if rank != 1 and not (rank and stored):
            refuse(node, f"a slice is of a vector, not of a {RANKS[rank]}")
        return rank

    def _generator(self, node: ast.GeneratorExp) -> int:
        part = node.generators[0]
        assert isinstance(part.target, ast.Name)
        self._range(part.iter)
        before = self._names.get(part.target.id, 0)
        if before:
            refuse(part.target, f"'{part.target.id}' is a {RANKS[before]} and cannot count")
        for child in [*part.ifs, node.elt]:
            self._number(child, "an item of a generator")
        return 0

    def _range(self, node: ast.expr) -> None:
        assert isinstance(node, ast.Call)
        for argument in node.args:
            self._number(argument, "an argument of range", hint="; see len")

    # calls

    def _call(self, node: ast.Call) -> int:
        spread = self._display(node)
        if spread is not None:
            for child in spread:
                self._number(child, "an item")
            return 0
        ranks = [self._rank(argument) for argument in node.args]
        if isinstance(node.func, ast.Attribute):
            return self._operation(node, node.func.attr, ranks)
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        if name in self._analysis.functions:
            return self._helper(node, name, tuple(ranks))
        if name in self._host:
            return self._host_call(node, self._host[name], ranks)
        return self._operation(node, name, ranks)

    def _display(self, node: ast.Call) -> list[ast.expr] | None:
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Tuple | ast.List):
            return first.elts
        return [first] if isinstance(first, ast.GeneratorExp) else None

    def _operation(self, node: ast.Call, name: str, ranks: list[int]) -> int:
        if not any(ranks) and (isinstance(node.func, ast.Attribute) or name in BUILTINS):
            if name in ("max", "min", "sum") and len(ranks) == 1:
                refuse(node, f"{name} takes an array or a tuple, list or generator display")
            return 0
        result = result_rank(name, ranks)
        if result is None:
            given = ", ".join(RANKS[rank] for rank in ranks)
            more = "; see minimum and maximum" if name in ("min", "max") else ""
            refuse(node, f"{described(name)}, not ({given}){more}")
        self._found.operations.add(id(node))
        return result

    def _host_call(self, node: ast.Call, operation: HostOperation, ranks: list[int]) -> int:
        if tuple(ranks) != operation.parameters:
            wanted = ", ".join(RANKS[rank] for rank in operation.parameters)
            refuse(node, f"{operation.name} takes ({wanted})")
        self._found.operations.add(id(node))
        return operation.result

    def _helper(self, node: ast.Call, name: str, ranks: tuple[int, ...]) -> int:
        function = self._analysis.functions[name]
        if name not in self._found.parameters:
            _Function(self._analysis, self._host, self._found, function).infer(ranks)
        if self._found.parameters[name] != ranks:
            wanted = ", ".join(RANKS[rank] for rank in self._found.parameters[name])
            refuse(node, f"'{name}' is called with ({wanted}) elsewhere; make two helpers")
        if self._found.writes[name] and self._found.results[name] != NOTHING:
            refuse(function, f"'{name}' returns a value, so it may not write into what it is given")
        for index in self._found.writes[name]:
            self._write(node.args[index])
        return self._found.results[name]
