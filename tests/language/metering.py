"""What a call of a policy costs, measured without a clock: instructions of the interpreter, and bytes."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


def instructions(call: Callable[[], T]) -> tuple[int, T]:
    """Return how many bytecode instructions a call ran, in every Python function below it, and its result.

    What runs in C counts as the one instruction that called it.
    """
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        result = call()
    finally:
        sys.settrace(before)
    return count, result


def most_bytes(call: Callable[[], T]) -> tuple[int, T]:
    """Return the most memory that a call held at a time beyond what was held before, and its result."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        result = call()
        return tracemalloc.get_traced_memory()[1] - before, result
    finally:
        tracemalloc.stop()
