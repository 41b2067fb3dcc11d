"""Guards of the host: what a process with a candidate in it may say."""

from __future__ import annotations

from .rows import FRAME, within

HOST = (
    *within(
        "sdk/isolation/frames.py",
        FRAME,
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
    *within(
        "sdk/isolation/fork.py",
        FRAME,
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
    *within(
        "shadow/isolation/lockstep.py",
        FRAME,
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
    *within(
        "sdk/isolation/program_wire.py",
        FRAME,
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
    *within(
        "sdk/isolation/program.py",
        FRAME,
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
    *within(
        "shadow/isolation/compiled.py",
        FRAME,
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
