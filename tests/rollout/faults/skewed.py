"""Run a program whose wall clock is off by what a file says: ``skewed.py FILE PROGRAM [ARGUMENT]...``.

The file holds nanoseconds and may be rewritten while the program runs: the clock then jumps. A program
is the path of a script, or ``-m`` and a module. The monotonic clock is left alone, as on a machine
whose clock is set.
"""

from __future__ import annotations

import os
import runpy
import sys
import time

FILE = sys.argv[1]
_real_ns, _real_s = time.time_ns, time.time


def offset_ns() -> int:
    """Return what the file says now."""
    descriptor = os.open(FILE, os.O_RDONLY)
    try:
        return int(os.read(descriptor, 32) or b"0")
    finally:
        os.close(descriptor)


time.time_ns = lambda: _real_ns() + offset_ns()
time.time = lambda: _real_s() + offset_ns() / 1e9
if sys.argv[2] == "-m":
    sys.argv = sys.argv[3:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
