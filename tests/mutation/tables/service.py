"""Guards inside a service: answers, breakers, the kill switch, live shadow."""

from __future__ import annotations

from .rows import ANSWER, CELLS, within

SERVICE = (
    *within(
        "sdk/guard.py",
        ANSWER,
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
    *within(
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
    *within(
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
            ANSWER.format("minus one"),
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
    *within(
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
    *within(
        "shadow/gates/regressions.py",
        "{}",
        (
            "a case is no larger than it can be asked",
            "        and 0 < len(question) <= _MOST_ITEMS",
            "        and bool(question)",
            "tests/gates/test_regressions.py::test_what_no_longer_applies_is_said_and_not_asked",
        ),
    ),
    *within(
        "commands/_common.py",
        "{}",
        (
            "what others wrote steers no terminal",
            "            return super().render_str(printable(text), **options)",
            "            return super().render_str(text, **options)",
            "tests/gates/test_regressions.py::test_no_case_steers_the_terminal_of_who_lists_it",
        ),
    ),
    *within(
        "sdk/programs/guard.py",
        "{}",
        (
            "invariants hold for programs at run time",
            '        return (None, f"violation:{broken.name}") if broken is not None else (outputs, "")',
            '        return outputs, ""',
            CELLS + "test_an_unlawful_program_is_stopped_in_the_service_too",
        ),
    ),
    *within(
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
