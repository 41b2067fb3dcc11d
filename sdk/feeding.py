"""A sink as the runtime feeds it: named, and with an account even where it keeps none itself."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .batches import events
from .telemetry.accounting import Account, Accounting

if TYPE_CHECKING:
    from .config import Sink
    from .records import Record

_LOG = logging.getLogger("gnomon")


class Feed:
    """Hands records to one sink and knows what became of them.

    Attributes:
        name: of the sink: its ``name``, else its class's.

    Args:
        sink: takes the records.
        name: another name, where two sinks have the same.
    """

    def __init__(self, sink: Sink, name: str = "") -> None:
        self.name: str = name or name_of(sink)
        self._sink = sink
        self._own: Any = getattr(sink, "account", None)
        self._counted = Accounting(self.name)

    def write(self, hook: Any, records: Sequence[Record]) -> None:
        """Hand records on; what the sink raises is raised."""
        if self._own is not None:
            self._sink.write(hook, records)
            return
        count = events(records)
        self._counted.record(count)
        try:
            self._sink.write(hook, records)
        except BaseException:
            self._counted.settle(unknown=count)
            raise
        self._counted.settle(acknowledged=count)

    def flush(self, timeout_s: float) -> None:
        """Have the sink hand on what waits."""
        self._sink.flush(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Close the sink; what it could not deliver in all is said in one line of the log."""
        try:
            self._sink.close(timeout_s)
        finally:
            self._tell()

    def reset(self) -> None:
        """Count from 0 again, as a forked child does; a sink's own account is its own matter."""
        self._counted = Accounting(self.name)

    def account(self) -> Account:
        """Return what became of the records: the sink's own account, or what its ``write`` told.

        A sink without an account has taken what its ``write`` returned from; what it raised on is
        unknown.
        """
        account: Account = self._counted.account() if self._own is None else self._own()
        return account

    def _tell(self) -> None:
        now = self.account()
        if now.acknowledged == now.recorded:
            return
        reasons = ", ".join(f"{why}: {n}" for why, n in sorted(now.reasons.items()))
        _LOG.warning(
            "sink %s closed: %d records, of which acknowledged %d, dropped %d%s, unknown %d, pending %d",
            *(self.name, now.recorded, now.acknowledged, now.dropped),
            *(f" ({reasons})" if reasons else "", now.unknown, now.pending),
        )


def name_of(sink: object) -> str:
    """Return the name of a sink."""
    return str(getattr(sink, "name", "") or type(sink).__name__)


def feeds(sinks: Iterable[Sink]) -> tuple[Feed, ...]:
    """Return feeds of sinks, with names of their own: a second one of a name gets ``-2``."""
    seen: dict[str, int] = {}
    made = []
    for sink in sinks:
        name = name_of(sink)
        seen[name] = seen.get(name, 0) + 1
        made.append(Feed(sink, name if seen[name] == 1 else f"{name}-{seen[name]}"))
    return tuple(made)
