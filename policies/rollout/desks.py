"""All hooks of a control plane, and every rollout that they have had."""

from __future__ import annotations

from collections.abc import Iterator

from ...sdk.errors import RolloutError
from .desk import Desk
from .states import State


class Desks:
    """The hooks' desks by name, begun when they are first asked for, and all rollouts by id."""

    def __init__(self) -> None:
        self._desks: dict[str, Desk] = {}
        self._rollouts: dict[str, State] = {}

    def __getitem__(self, hook: str) -> Desk:
        """Return a hook's desk; a new one where nothing is known of the hook."""
        return self._desks.setdefault(hook, Desk(hook))

    def __iter__(self) -> Iterator[Desk]:
        """Yield the desks, oldest first."""
        return iter(self._desks.values())

    def get(self, hook: str) -> Desk | None:
        """Return a hook's desk, None where nothing is known of the hook."""
        return self._desks.get(hook)

    def of(self, hook: str) -> list[Desk]:
        """Return the desks of all hooks or one, by name."""
        return [desk for name, desk in sorted(self._desks.items()) if hook in ("", name)]

    def note(self, state: State) -> None:
        """Keep how a rollout stands."""
        self._rollouts[state.plan.id] = state

    def known(self, rollout: str) -> State | None:
        """Return a rollout, None where there is none of that id."""
        return self._rollouts.get(rollout)

    def rollout(self, rollout: str = "") -> State:
        """Return a rollout, the newest one without an id; raises RolloutError for none."""
        if not rollout and self._rollouts:
            return next(reversed(self._rollouts.values()))
        if rollout not in self._rollouts:
            raise RolloutError(f"no rollout {rollout!r}" if rollout else "no rollout yet: ship one")
        return self._rollouts[rollout]

    def rollouts(self, hook: str = "") -> list[State]:
        """Return all rollouts, or those of a hook, oldest first."""
        return [state for state in self._rollouts.values() if hook in ("", state.plan.hook)]
