"""Guards of a verdict: gates, holdouts, the ledger, laws of a replay."""

from __future__ import annotations

from .rows import GATE, HACK, within

_T = "tests/gates/test_gates.py::"
GATES = (
    *within(
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
    *within(
        "shadow/gates/watch.py",
        GATE,
        (
            "every decision of a replay is watched",
            "        if broken is not None:",
            "        if False:",
            _T + "test_a_violation_on_recorded_traffic_is_refused_with_the_decision",
        ),
    ),
    *within(
        "shadow/gates/replay.py",
        GATE,
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
            HACK + "test_more_bytes_than_the_cache_may_hold",
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
            HACK + "test_dropping_work_in_the_evaluator[cache]",
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
    *within(
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
    *within(
        "shadow/gates/verify.py",
        "{}",
        (
            "the first gate that refuses decides",
            "        if not answers[-1].passed:",
            "        if False:",
            "tests/gates/test_verify.py::test_every_known_hack_is_refused_where_it_should_be[reads the future]",
        ),
    ),
    *within(
        "shadow/gates/verdict.py",
        "{}",
        (
            "a verdict is the ledger's",
            "    if not ledger.list(kind=KIND, subject=digest):",
            "    if False:",
            HACK + "test_forging_the_verdict",
        ),
    ),
    *within(
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
    *within(
        "policies/rollout/chain.py",
        "{}",
        (
            "entries are hashed",
            "    if entry_hash(row.seq, row.time_ns, texts, row.body, row.previous) != row.hash:",
            "    if False:",
            "tests/rollout/test_ledger.py",
        ),
    ),
    *within(
        "policies/scheduler.py",
        HACK + "{}",
        (
            "jobs count as what they were",
            "        and summary.wrong_outcomes == 0\n",
            "",
            "tests/hostile/test_laws.py",
        ),
    ),
    *within(
        "policies/expert_placement.py",
        HACK + "{}",
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
    *within(
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
    *within(
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
