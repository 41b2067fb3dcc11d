"""The loop as Python calls, for notebooks and pipelines; the commands are thin over them.

Each call takes what the command of the same name takes and returns a typed, frozen result, which prints
as text, shows itself as tables in a notebook, and gives its JSON values with ``as_json()``.
"""

from __future__ import annotations

from ..policies.listing import known_policies, known_policy
from ..shadow.opening import opened, policy_named, rivals, source_digest
from .auditing import who_decided
from .comparison import compare
from .evaluation import evolve, evolve_problem, off_policy, replay, verify
from .invariants import (
    check_invariants,
    confirm_invariants,
    list_invariants,
    load_invariants,
    suggest_invariants,
)
from .machine import doctor
from .places import CONTROL_PLANE, LEDGER, acting, existing_ledger
from .recording import compact, drift, prune, traces
from .rollouts import follow, reverified, rollout, ship
from .searches import export_run, list_runs, report_run, show_run
from .telling import ask, hint, tell, told

__all__ = [
    "CONTROL_PLANE",
    "LEDGER",
    "acting",
    "ask",
    "check_invariants",
    "compact",
    "compare",
    "confirm_invariants",
    "doctor",
    "drift",
    "evolve",
    "evolve_problem",
    "existing_ledger",
    "export_run",
    "follow",
    "hint",
    "known_policies",
    "known_policy",
    "list_invariants",
    "list_runs",
    "load_invariants",
    "off_policy",
    "opened",
    "policy_named",
    "prune",
    "replay",
    "report_run",
    "reverified",
    "rivals",
    "rollout",
    "ship",
    "show_run",
    "source_digest",
    "suggest_invariants",
    "tell",
    "told",
    "traces",
    "verify",
    "who_decided",
]
