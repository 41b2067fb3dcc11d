"""What a process says of its hooks on one stream, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gnomon.v1 import delivery_pb2

from .holdings import Holdings
from .manifest import Now
from .session import hook_report

#: After a block's end its last outcomes are given so long before it is reported.
_AFTER_BLOCK_NS = 20_000_000
#: Sums by slice are some 20 kB; they are sent again when outcomes grew by this factor, and by one at least.
SUMS_GROWTH = 1.05


class Reporter:
    """Reports on all hooks; of sums it sends those that differ from what it last sent.

    Args:
        holdings: of the process.
        interval_s: between two reports of a hook.
        now: both clocks.
        failed: called with what kept a hook from being reported on.
    """

    def __init__(
        self,
        holdings: Holdings,
        interval_s: float,
        now: Callable[[], Now],
        failed: Callable[[Exception], None],
    ) -> None:
        self._holdings = holdings
        self._interval_s = interval_s
        self._now = now
        self._failed = failed
        self._sent: dict[tuple[str, int, str], bytes] = {}
        self._told: dict[str, tuple[int, int]] = {}

    def next_ns(self) -> int:
        """Return when to report next: after the interval, or earlier when a block closes."""
        now = self._now()
        waits = [int(self._interval_s * 1e9)]
        for measure in list(self._holdings.measures.values()):
            end = measure.block_end_ns(now.unix_ns - _AFTER_BLOCK_NS)
            if end is not None:
                waits.append(end + _AFTER_BLOCK_NS - now.unix_ns)
        return now.monotonic_ns + max(1, min(waits))

    def reports(self) -> Iterator[delivery_pb2.ClientMessage]:
        """Yield one report for every hook that is taken up."""
        for hook in self._holdings.hooks():
            policy = self._holdings.policies.get(hook.name)
            if policy is None:
                continue
            try:
                blocks, slices = self._changed(hook.name), self._sums(hook.name)
                features = self._holdings.features[hook.name].counts()
                report = hook_report(hook, policy.guard.epoch, blocks, slices, features)
            except Exception as error:  # noqa: BLE001 - a bad counter must not end the stream
                self._failed(error)
                continue
            yield report

    def _changed(self, hook: str) -> list[delivery_pb2.BlockReport]:
        """Return the blocks whose sums differ from what this last sent of them."""
        changed, sent = [], {}
        for report in self._holdings.measures[hook].reports():
            key, data = (hook, report.block, report.arm), report.SerializeToString()
            if self._sent.get(key) != data:
                changed.append(report)
            sent[key] = data
        others = {key: data for key, data in self._sent.items() if key[0] != hook}
        self._sent = others | sent
        return changed

    def _sums(self, hook: str) -> delivery_pb2.SliceReport | None:
        """Return the sums by slice, where so much was added that the control plane would look again."""
        report = self._holdings.measures[hook].slices()
        told = (0, 0) if report is None else (report.epoch, sum(report.count))
        epoch, count = self._told.get(hook, (0, 0))
        if report is None or told[0] == epoch and told[1] < count * SUMS_GROWTH + 1:
            return None
        self._told[hook] = told
        return report
