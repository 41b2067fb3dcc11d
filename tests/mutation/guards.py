"""Every guard, and what takes it away; each has tests that must then fail.

A guard whose text has changed has to be found here again: a mutant that cannot be made is a failure.
"""

from __future__ import annotations

from .harness import Mutant

_LAYERS = "tests/hostile/test_layers.py::"
_CELLS = "tests/hostile/test_cells.py::"
_CHECK = _CELLS + "test_the_check_refuses[{}]"
_PROGRAM = _CELLS + "test_a_program_is_stopped_where_it_should_be[{}]"
_RAW = _CELLS + "test_a_program_past_the_check_gets_nothing[{}]"
_ALONE = _CELLS + "test_each_layer_that_is_named_stops_it_alone_and_no_other_does[{}]"
_FRAME = _LAYERS + "test_a_fork_that_was_taken_over_can_only_decide_badly[{}]"
_ANSWER = _LAYERS + "test_the_service_gets_the_incumbents_item_and_then_is_rid_of_it[{}]"
_SENT = _LAYERS + "test_a_service_refuses_what_is_sent_to_it[{}]"
_GATE = _LAYERS + "test_the_gate_that_is_named_refuses_and_none_before_it[{}]"
_HACK = "tests/hostile/test_reward_hacks.py::"

#: guard, old text, new text, and the attack (or the test) that must get through to be noticed.
Row = tuple[str, str, str, str]


def _in(file: str, form: str, *rows: Row) -> tuple[Mutant, ...]:
    return tuple(
        Mutant(guard, file, old, new, (test if test.startswith("tests/") else form.format(test),))
        for guard, old, new, test in rows
    )


_GRAMMAR = _in(
    "sdk/language/_grammar.py",
    _CHECK,
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

_LANGUAGE = (
    *_in(
        "sdk/language/_text.py",
        _CHECK,
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
    *_in(
        "sdk/language/_program.py",
        _CHECK,
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
    *_in(
        "sdk/language/_analysis.py",
        _CHECK,
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
    *_in(
        "sdk/language/_flow.py",
        _CHECK,
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
    *_in(
        "sdk/language/_expressions.py",
        "{}",
        (
            "fuel of a loop",
            'return [f"_fuel -= {cost}", f"if _fuel < 0: {self.fail}"]',
            'return [f"_fuel -= {cost}"]',
            _CELLS + "test_a_loop_beyond_its_fuel_gives_no_number",
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

_PROGRAMS = (
    *_in(
        "sdk/language/_array_ops.py",
        _PROGRAM,
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
            _PROGRAM.format("infinity by adding up"),
        ),
    ),
    *_in(
        "sdk/language/_array_lower.py",
        _PROGRAM,
        (
            "fuel of a program",
            'return [f"_m.fuel -= {cost}", f"if _m.fuel < 0: {self.fail}"]',
            'return [f"_m.fuel -= {cost}"]',
            "a loop that only counts",
        ),
    ),
    *_in(
        "sdk/language/_array_types.py",
        _PROGRAM,
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
    *_in(
        "sdk/language/_array_grammar.py",
        _PROGRAM,
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
    *_in(
        "sdk/language/_arrays.py",
        _PROGRAM,
        (
            "outputs are whole",
            "        if parameter.integer and any(map(_fraction, elements(terms[parameter.name]))):",
            "        if False:",
            "half a machine",
        ),
    ),
)

_KERNEL = (
    *_in(
        "sdk/isolation/seccomp.py",
        _RAW,
        (
            "what is not listed fails",
            "return [*code, (_RETURN, 0, 0, _EPERM)]",
            "return [*code, (_RETURN, 0, 0, _ALLOW)]",
            "sleep",
        ),
        (
            "the other call table kills",
            "        (_AT_LEAST, 0, 1, _X32),\n        (_RETURN, 0, 0, _KILL),\n",
            "        (_AT_LEAST, 0, 1, _X32),\n        (_RETURN, 0, 0, _ALLOW),\n",
            "tests/isolation/test_kernel_layers.py",
        ),
        (
            "a foreign architecture kills",
            "        (_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),\n        (_RETURN, 0, 0, _KILL),",
            "        (_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),\n        (_RETURN, 0, 0, _ALLOW),",
            "tests/hostile/test_seal.py",
        ),
        (
            "one descriptor is read",
            "    code += _only_if(_READ, _one_of(0, (descriptor,)))",
            "    code += _only_if(_READ)",
            "read the standard input",
        ),
        (
            "one descriptor is written",
            "    code += _only_if(_WRITE, _one_of(0, (descriptor,)))",
            "    code += _only_if(_WRITE)",
            "write on the standard output",
        ),
        (
            "new memory is not executable",
            "    code += _only_if(_MMAP, _without(3, _UNUSUAL_MEMORY), *executable)",
            "    code += _only_if(_MMAP)",
            "map executable memory",
        ),
        (
            "memory does not become executable",
            "    code += _only_if(_MPROTECT, *executable)",
            "    code += _only_if(_MPROTECT)",
            "make memory executable",
        ),
        (
            "a filter is put in force",
            "    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_), 0, 0):",
            "    if False:",
            "ask for randomness",
        ),
    ),
    *_in(
        "sdk/isolation/lockdown.py",
        _ALONE,
        (
            "memory is limited",
            "        resource.RLIMIT_AS: memory + (limits.memory_mb << 20),",
            "        resource.RLIMIT_AS: 1 << 45,",
            _RAW.format("take two gigabytes"),
        ),
        (
            "no file grows",
            "        resource.RLIMIT_FSIZE: 0,",
            "        resource.RLIMIT_FSIZE: 1 << 20,",
            "write a file",
        ),
        (
            "an empty root",
            "        os.chroot(root)\n",
            "",
            "look at a file",
        ),
        (
            "the user is nobody",
            "        os.setresuid(_NOBODY, _NOBODY, _NOBODY)\n",
            "",
            "signal the parent",
        ),
        (
            "no network of the machine's",
            "return os.geteuid() == 0 and library.unshare(flags) == 0",
            "return os.geteuid() == 0",
            "send a datagram",
        ),
        (
            "no rights",
            "    return bool(library.capset(_OWN_CAPABILITIES, _NO_CAPABILITIES) == 0)",
            "    return True",
            "change the root",
        ),
        (
            "Landlock is in force",
            "    held = library.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0\n",
            "    held = True\n",
            "list the root",
        ),
        (
            "no new privileges",
            "    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):",
            "    if False:",
            _RAW.format("sleep"),
        ),
        (
            "descriptors are closed",
            "    os.closerange(3, descriptor)\n    os.closerange(descriptor + 1, _MOST_DESCRIPTORS)\n",
            "",
            "tests/isolation/test_kernel_layers.py",
        ),
        (
            "a fork dies with its clean process",
            "    if library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0):",
            "    if False:",
            "tests/isolation/test_lifetimes.py",
        ),
        (
            "the compiled fork is sealed",
            '    if cell.mode == "strict":\n        seccomp.install(libc(), descriptor)',
            '    if cell.mode == "never":\n        seccomp.install(libc(), descriptor)',
            "tests/hostile/test_seal.py",
        ),
        (
            "strict needs its layers",
            'return tuple(layer for layer in STRICT_NEEDS if mode == "strict" and layer not in held)',
            "return ()",
            "tests/hostile/test_seal.py",
        ),
    ),
    *_in(
        "sdk/isolation/zygote.py",
        _RAW,
        (
            "the environment is its own",
            "                env=fixed | environment,",
            "                env=dict(os.environ) | fixed | environment,",
            "read a key from the environment",
        ),
    ),
)

_HOST = (
    *_in(
        "sdk/isolation/frames.py",
        _FRAME,
        (
            "a message has a length",
            "    if length > LONGEST:",
            "    if False:",
            "tests/hostile/test_seal.py",
        ),
        (
            "text from inside is plain",
            'return "".join(c if " " <= c <= "~" else "?" for c in text[:LONGEST_TEXT])',
            "return text[:LONGEST_TEXT]",
            "refused with terminal codes",
        ),
        (
            "text from inside is short",
            "for c in text[:LONGEST_TEXT])",
            "for c in text)",
            "refused at great length",
        ),
    ),
    *_in(
        "sdk/isolation/fork.py",
        _FRAME,
        (
            "a worker that was lost is no fault of the candidate's",
            "        if status is Status.DIED and self._orphaned():",
            "        if False:",
            "tests/gates/test_worker_lost.py",
        ),
        (
            "a frame has a deadline",
            "        return min(frame, left)",
            "        return 3600.0",
            "late",
        ),
        (
            "the whole has a deadline",
            "        if left <= 0.0:  # a socket waits",
            "        if False:  # a socket waits",
            "tests/isolation/test_lockstep.py",
        ),
    ),
    *_in(
        "shadow/isolation/lockstep.py",
        _FRAME,
        (
            "a pick is an item",
            "        if k and (picks.min() < -1 or picks.max() >= m):",
            "        if k and picks.min() < -1:",
            "an item beyond the last",
        ),
        (
            "a pick is not below nothing",
            "        if k and (picks.min() < -1 or picks.max() >= m):",
            "        if k and picks.max() >= m:",
            "an item before the first",
        ),
        (
            "a fault is no pick",
            "            if pick < 0:",
            "            if pick < -1:",
            "tests/isolation/test_lockstep.py::test_a_fault_in_a_replay_names_the_decision",
        ),
    ),
    *_in(
        "sdk/isolation/program_wire.py",
        _FRAME,
        (
            "outputs that come are finite",
            "        if not all(map(math.isfinite, numbers)):",
            "        if False:",
            "tests/hostile/test_answers.py",
        ),
        (
            "outputs that come are whole",
            "    if not all(number.is_integer() for number in numbers):",
            "    if False:",
            "half a machine in an output",
        ),
        (
            "a value that comes was asked for",
            "    if has_value != contract.returns or fuel > contract.max_fuel or not math.isfinite(value):",
            "    if False:",
            "a value that was not asked for",
        ),
    ),
    *_in(
        "sdk/isolation/program.py",
        _FRAME,
        (
            "an answer is as long as asked",
            "        if body[0] and length != answer_size(self._contract, terms):",
            "        if False:",
            "an answer without outputs",
        ),
        (
            "a program has a deadline",
            "        until = time.monotonic() + (self._deadline_s if within_s is None else within_s) * slower",
            "        until = time.monotonic() + 12.0",
            "a late answer",
        ),
    ),
    *_in(
        "shadow/isolation/compiled.py",
        _FRAME,
        (
            "an answer holds what it says",
            "    if len(answer) != _HEAD.size + 8 * count:",
            "    if False:",
            "more than it says",
        ),
        (
            "segments are finite",
            "    if not all(map(math.isfinite, segments)):",
            "    if False:",
            "segments that are no numbers",
        ),
        (
            "an invariant that is there",
            "            if _BROKEN - fault >= len(self._kind.invariants):",
            "            if False:",
            "an invariant that is not there",
        ),
        (
            "a score is finite",
            "        if not math.isfinite(score):",
            "        if False:",
            "a score without end",
        ),
        (
            "a fork stops where it may",
            "        if left and not score > floor:",
            "        if False:",
            "stopped though nobody said so",
        ),
    ),
)

_SERVICE = (
    *_in(
        "sdk/guard.py",
        _ANSWER,
        (
            "an answer is an int",
            "        return index if type(index) is int and 0 <= index < len(full) else -1",
            "        return index if 0 <= index < len(full) else -1",
            "a truth",
        ),
        (
            "an answer is an item that is there",
            "        return index if type(index) is int and 0 <= index < len(full) else -1",
            "        return index if type(index) is int and 0 <= index else -1",
            "an item beyond the end",
        ),
        (
            "no exception reaches the service",
            "        except Exception:  # noqa: BLE001 - a candidate may fail in any way; that is one fault",
            "        except KeyError:",
            "an exception",
        ),
        (
            "features lie in their ranges",
            "            f\"        if not ({' and '.join(ranges) or 'True'}):\",",
            '            "        if False:",',
            "tests/sdk/test_guard.py",
        ),
        (
            "invariants hold at run time",
            '        return f"violation:{broken.name}" if broken else ""',
            '        return ""',
            "a loaded item",
        ),
        (
            "slow answers are counted",
            "        if spent_ns > limits.budget_ns:",
            "        if False:",
            "slow answers",
        ),
    ),
    *_in(
        "sdk/arms.py",
        "{}",
        (
            "a tripped program answers no more",
            "    if arms.candidate is None or not arms.candidate.breaker.reason:",
            "    if True:",
            "tests/sdk/test_guard.py",
        ),
        (
            "a killed policy answers no more",
            '    if assignment.phase == "killed" or assignment.epoch == 0 == _programs(arms):',
            "    if assignment.epoch == 0 == _programs(arms):",
            "tests/sdk/test_arms.py",
        ),
        (
            "no lease, no candidate",
            "    if now.monotonic_ns >= assignment.lease_until_ns:",
            "    if False:",
            "tests/sdk/test_arms.py",
        ),
    ),
    *_in(
        "sdk/limits.py",
        "tests/sdk/test_breaker.py::{}",
        (
            "limits that never trip are refused",
            "            if getattr(self, name) > min(self.window, MOST_FAILURES):",
            "            if False:",
            "tests/sdk/test_breaker.py",
        ),
        (
            "the breaker trips",
            "        if len(seen) == seen.maxlen and (answer - first) * self.share < self._window:",
            "        if False:",
            _ANSWER.format("minus one"),
        ),
        (
            "the breaker trips once",
            "        if next(self._trips):  # of threads that come to it together, one trips it",
            "        if False:",
            "tests/sdk/test_breaker.py",
        ),
        (
            "a policy takes no more than its share of a thread",
            "        if level > BURST_NS:",
            "        if False:",
            "tests/sdk/test_breaker.py",
        ),
    ),
    *_in(
        "sdk/kill.py",
        "{}",
        (
            "a kill covers its hook, or all",
            '        return self.hook in ("", hook)',
            "        return self.hook == hook",
            "tests/sdk/test_kill.py",
        ),
        (
            "a kill file that is odd kills",
            '            return (Kill(reason=odd, since_ns=time.time_ns(), source="file"),)',
            "            return ()",
            "tests/sdk/test_kill.py",
        ),
        (
            "a kill file has two fields",
            'isinstance(found, dict) and found.keys() == {"format", "kills"}',
            "isinstance(found, dict)",
            "tests/sdk/test_kill.py::test_a_file_that_cannot_be_read_kills_everything[a slip beside]",
        ),
        (
            "a kill was ordered at a time",
            " or not 0 <= since_ns < 1 << 63",
            "",
            "tests/sdk/test_kill.py::test_a_file_that_cannot_be_read_kills_everything[far from now]",
        ),
    ),
    *_in(
        "shadow/gates/regressions.py",
        "{}",
        (
            "a case is no larger than it can be asked",
            "        and 0 < len(question) <= _MOST_ITEMS",
            "        and bool(question)",
            "tests/gates/test_regressions.py::test_what_no_longer_applies_is_said_and_not_asked",
        ),
    ),
    *_in(
        "commands/_common.py",
        "{}",
        (
            "what others wrote steers no terminal",
            "            return super().render_str(printable(text), **options)",
            "            return super().render_str(text, **options)",
            "tests/gates/test_regressions.py::test_no_case_steers_the_terminal_of_who_lists_it",
        ),
    ),
    *_in(
        "sdk/programs/guard.py",
        "{}",
        (
            "invariants hold for programs at run time",
            '        return (None, f"violation:{broken.name}") if broken is not None else (outputs, "")',
            '        return outputs, ""',
            _CELLS + "test_an_unlawful_program_is_stopped_in_the_service_too",
        ),
    ),
    *_in(
        "sdk/live_shadow.py",
        "{}",
        (
            "live shadow sheds first",
            "        if self.stopped or self._spent >= allowed or len(rows) > candidate.most:",
            "        if False:",
            "tests/sdk/test_runtime.py",
        ),
    ),
)

_DELIVERY = (
    *_in(
        "sdk/dsse.py",
        _SENT,
        (
            "an envelope is of its type",
            "    if envelope.payload_type != payload_type:",
            "    if False:",
            "tests/delivery/test_dsse.py",
        ),
        (
            "a signer is trusted",
            "    trusted = {_keys.keyid(key): key for key in keys}\n    known = [found for found in envelope.signatures if found.keyid in trusted]",
            "    return\n    trusted = {_keys.keyid(key): key for key in keys}\n    known = [found for found in envelope.signatures if found.keyid in trusted]",
            "a bundle that a stranger signed",
        ),
        (
            "a payload is not too large",
            "    if len(envelope.payload) > MAX_PAYLOAD:",
            "    if False:",
            "tests/delivery/test_dsse.py",
        ),
    ),
    *_in(
        "sdk/bundle.py",
        _SENT,
        (
            "a bundle is for this hook",
            '    _same("hook", bundle.hook, hook)',
            "    pass",
            "a bundle for another hook",
        ),
        (
            "a bundle is for this kind and version",
            '    _same("kind", f"{bundle.kind} v{bundle.kind_version}", f"{kind.name} v{kind.version}")',
            "    pass",
            "a bundle for an older kind",
        ),
        (
            "a bundle's inputs are the kind's",
            '    _same("inputs", ", ".join(bundle.inputs), ", ".join(_inputs(kind)))',
            "    pass",
            "a bundle with its inputs exchanged",
        ),
        (
            "enough golden vectors",
            "    if rows < VECTORS:",
            "    if False:",
            "no golden vectors",
        ),
        (
            "golden vectors give the same here",
            "    mismatch = replay_vectors(program, _rows(bundle), list(bundle.vector_outputs))",
            '    mismatch = ""',
            "another source than was verified",
        ),
        (
            "golden cases give the same here",
            "    mismatch = golden_mismatch(bundle.source, kind, seed, numbers, isolation)",
            '    mismatch = ""',
            "tests/programs/test_program_bundle.py",
        ),
    ),
    *_in(
        "sdk/manifest.py",
        _SENT,
        (
            "epochs only rise",
            "        if manifest.epoch < max(self.epoch, 1):",
            "        if False:",
            "an older manifest again",
        ),
        (
            "the least epoch",
            "        if manifest.epoch < self._anchors.min_epoch:\n            raise",
            "        if False:\n            raise",
            "an epoch below the least",
        ),
        (
            "an epoch has one content",
            "        if _timeless(manifest) != _timeless(current.manifest):",
            "        if False:",
            "the same epoch with another weight",
        ),
        (
            "a manifest is for this hook",
            "        if manifest.hook != self._hook:",
            "        if False:",
            "a manifest for another hook",
        ),
        (
            "a publisher signed the plan",
            "        return read_plan(manifest.plan, self._anchors.publishers, self._hook)\n        except TrustError:\n            if manifest.kill:",
            "        return read_plan(manifest.plan, (*self._anchors.publishers, keys.from_raw(policy_pb2.RampPlan.FromString(manifest.plan.payload).rollout_public_key)), self._hook)\n        except TrustError:\n            if manifest.kill:",
            "a plan that the rollout key signed",
        ),
        (
            "manifests are fresh",
            "    if late > skew_ns:",
            "    if False:",
            "a manifest of last week",
        ),
        (
            "manifests are not of the future",
            "    if early > skew_ns:",
            "    if False:",
            "a manifest of next week",
        ),
        (
            "manifests have a lease",
            "    if manifest.lease_ns <= 0:",
            "    if False:",
            "a manifest without a lease",
        ),
        (
            "the lease is the plan's",
            "    if manifest.lease_ns > plan.lease_ns:",
            "    if False:",
            "a lease beyond the plan's",
        ),
        (
            "the plan has not ended",
            "    if plan is None or now.unix_ns > plan.not_after_unix_ns:",
            "    if plan is None:",
            "an expired plan",
        ),
        (
            "the candidate is the plan's",
            "    if (manifest.stable, manifest.candidate) != (plan.stable, plan.candidate):",
            "    if False:",
            "another candidate than the plan's",
        ),
        (
            "the weight is the plan's",
            "    if not math.isfinite(weight) or not 0.0 <= weight <= limit:",
            "    if False:",
            "a weight beyond the plan",
        ),
        (
            "stable is the plan's",
            "    if manifest.stable not in allowed:",
            "    if False:",
            "stable at once",
        ),
        (
            "full only where the plan goes there",
            "    if full and largest <= _FULL_WEIGHT:",
            "    if False:",
            "full traffic that the plan never gives",
        ),
        (
            "the plan's key is the one that it names",
            "    if keys.keyid(key) != plan.rollout_keyid:",
            "    if False:",
            "tests/delivery/test_manifest.py",
        ),
        (
            "publisher and rollout have keys of their own",
            "        keys.check_separate(key, publishers)",
            "        pass",
            "tests/delivery/test_manifest.py",
        ),
    ),
    *_in(
        "sdk/state.py",
        "{}",
        (
            "damaged state is absent",
            "    if heading != _HEADING + hashlib.sha256(body).hexdigest().encode():",
            "    if False:",
            "tests/delivery/test_state.py",
        ),
        (
            "the highest epoch stays",
            "                if self.load(hook).epoch <= saved.epoch:",
            "                if True:",
            "tests/delivery/test_state.py",
        ),
    ),
)

_T = "tests/gates/test_gates.py::"
_GATES = (
    *_in(
        "shadow/gates/behaviour.py",
        _T + "{}",
        (
            "tiers give the same",
            "        if len(differ):",
            "        if False:",
            _T + "test_a_tier_that_differs_is_found_with_its_row",
        ),
        (
            "a decision is not too slow",
            'answer: Answer = "passed" if decision_us <= MOST_US else "failed"',
            'answer: Answer = "passed"',
            _T + "test_a_slow_decision_is_over_budget",
        ),
    ),
    *_in(
        "shadow/gates/watch.py",
        _GATE,
        (
            "every decision of a replay is watched",
            "        if broken is not None:",
            "        if False:",
            _T + "test_a_violation_on_recorded_traffic_is_refused_with_the_decision",
        ),
    ),
    *_in(
        "shadow/gates/replay.py",
        _GATE,
        (
            "no gross damage",
            'answer: Answer = "passed" if ratio <= GROSS else "failed"',
            'answer: Answer = "passed"',
            "ruin everybody",
        ),
        (
            "better under every calibration",
            "    if max(changes) >= 0.0:",
            "    if False:",
            "copy the incumbent",
        ),
        (
            "laws of a replay hold",
            '    unfit = _unfit(case, replays)\n    if unfit:\n        return GateResult("full replay"',
            '    unfit = ""\n    if unfit:\n        return GateResult("full replay"',
            _HACK + "test_more_bytes_than_the_cache_may_hold",
        ),
        (
            "laws hold on train too",
            "    if unfit := _unfit(case, before):",
            '    if unfit := "":',
            _T + "test_an_invariant_that_only_train_is_long_enough_for_is_checked",
        ),
        (
            "no decision is left out",
            "        if max(one.fault, other.fault) >= 0 or (whole and np.array_equal(one.time, other.time)):",
            "        if True:",
            _HACK + "test_dropping_work_in_the_evaluator[cache]",
        ),
        (
            "the holdout excludes no gain",
            "    if effect.high >= 0.0:",
            "    if False:",
            "tests/hostile/test_answers.py",
        ),
        (
            "a guardrail's estimate",
            "        if rails[rail.name].estimate > rail.margin:",
            "        if False:",
            _T + "test_a_better_mean_does_not_buy_failures",
        ),
        (
            "a guardrail's limit",
            "        if rails[rail.name].high > rail.margin:",
            "        if False:",
            "tests/hostile/test_answers.py",
        ),
        (
            "worse is refused",
            "    if effect.low >= 0.0:",
            "    if False:",
            "tests/hostile/test_answers.py",
        ),
        (
            "a spent holdout",
            "    if grant.spent:",
            "    if False:",
            _T + "test_a_spent_holdout_asks_for_a_newer_trace",
        ),
        (
            "no score beyond the bound",
            "    if any(passed):",
            "    if False:",
            _T + "test_a_score_beyond_the_bound_quarantines_the_evaluator",
        ),
    ),
    *_in(
        "shadow/gates/holdout.py",
        "{}",
        (
            "each opening costs more",
            "    alpha = ALPHA / 2.0 ** min(opening, 100)",
            "    alpha = ALPHA",
            "tests/gates/test_holdout.py",
        ),
        (
            "openings that share time are counted",
            "        return start <= self.end_ns and self.start_ns <= end",
            "        return False",
            "tests/gates/test_holdout.py",
        ),
    ),
    *_in(
        "shadow/gates/verify.py",
        "{}",
        (
            "the first gate that refuses decides",
            "        if not answers[-1].passed:",
            "        if False:",
            "tests/gates/test_verify.py::test_every_known_hack_is_refused_where_it_should_be[reads the future]",
        ),
    ),
    *_in(
        "shadow/gates/verdict.py",
        "{}",
        (
            "a verdict is the ledger's",
            "    if not ledger.list(kind=KIND, subject=digest):",
            "    if False:",
            _HACK + "test_forging_the_verdict",
        ),
    ),
    *_in(
        "shadow/bundling.py",
        "{}",
        (
            "only an acceptance is shipped",
            '    if verdict.decision != "accepted" and not override:',
            "    if False:",
            "tests/gates/test_bundling.py",
        ),
        (
            "every gate was asked",
            "    if asked != GATES:",
            "    if False:",
            "tests/gates/test_bundling.py",
        ),
        (
            "the source is the one that was verified",
            "    if digest != verdict.source_digest:",
            "    if False:",
            "tests/gates/test_bundling.py",
        ),
    ),
    *_in(
        "policies/rollout/chain.py",
        "{}",
        (
            "entries are hashed",
            "    if entry_hash(row.seq, row.time_ns, texts, row.body, row.previous) != row.hash:",
            "    if False:",
            "tests/rollout/test_ledger.py",
        ),
    ),
    *_in(
        "policies/scheduler.py",
        _HACK + "{}",
        (
            "jobs count as what they were",
            "        and summary.wrong_outcomes == 0\n",
            "",
            "tests/hostile/test_laws.py",
        ),
    ),
    *_in(
        "policies/expert_placement.py",
        _HACK + "{}",
        (
            "imbalance follows from the loads",
            "        and summary.wrong_outcomes == 0\n",
            "",
            "tests/hostile/test_laws.py",
        ),
        (
            "every expert is in a slot",
            "    return all(experts.issubset(row) for row in _rows(answer.placement))",
            "    return True",
            "tests/hostile/test_laws.py",
        ),
    ),
    *_in(
        "policies/load_balancer.py",
        "{}",
        (
            "latencies are what the requests had",
            "    exact = (summary.late_starts, summary.most_over_slots, summary.wrong_outcomes) == (0, 0, 0)",
            "    exact = (summary.late_starts, summary.most_over_slots) == (0, 0)",
            "tests/hostile/test_laws.py",
        ),
        (
            "no backend starves",
            "    return bool(max(summary.longest_unpicked) <= limit)",
            "    return True",
            "tests/hostile/test_laws.py",
        ),
    ),
    *_in(
        "policies/cache.py",
        "{}",
        (
            "a cache holds no more than it may",
            "        and summary.most_held <= summary.capacity * _ROUNDED\n",
            "",
            "tests/hostile/test_laws.py",
        ),
    ),
)

MUTANTS: tuple[Mutant, ...] = (
    *_GRAMMAR,
    *_LANGUAGE,
    *_PROGRAMS,
    *_KERNEL,
    *_HOST,
    *_SERVICE,
    *_DELIVERY,
    *_GATES,
)
