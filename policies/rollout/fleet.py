"""The processes of all services as the control plane hears them: greetings, answers, reports, and who left."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from gnomon.v1 import delivery_pb2

from ...sdk.errors import RolloutError
from .accounts import Accounts, assigned
from .backlog import Backlog
from .commits import Commits
from .desk import Desk, Seat
from .desks import Desks
from .events import Broke, Nacked
from .reports import plain_counters
from .store import ClientRow, Happened, Store

_log = logging.getLogger("gnomon.rollout")

#: An epoch that a process claims is believed up to here; beyond lies only mischief.
_MAX_EPOCH = 1 << 53
#: A process that left is listed for a day.
LISTED_NS = 86_400 * 1_000_000_000


class Fleet:
    """Who is there, what they say, and what of that is to be kept.

    Args:
        store: keeps who was there and what they reported.
        desks: their hooks.
        commits: carries through what they cause.
        backlog: takes what the ledger must know of them.
        clock: gives Unix nanoseconds.
    """

    def __init__(
        self,
        store: Store,
        desks: Desks,
        commits: Commits,
        backlog: Backlog,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._desks = desks
        self._commits = commits
        self._backlog = backlog
        self._clock = clock
        self._accounts = Accounts()

    def hello(self, node: delivery_pb2.Node, hooks: Iterable[delivery_pb2.HookState]) -> None:
        """Note that a process is there with these hooks."""
        for hook in hooks:
            desk = self._desks[hook.hook]
            if node.instance not in desk.seats:
                self._accounts.new(desk.hook, node.instance)
            self._accounts.back(desk.hook, node.instance)
            seat = desk.seats.setdefault(
                node.instance, Seat(node.service, node.instance, node.cell)
            )
            seat.service, seat.cell, seat.connected = node.service, node.cell, True
            seat.kind = f"{hook.kind} v{hook.kind_version}"
            desk.unstored.add(node.instance)
            if desk.epoch < hook.epoch < _MAX_EPOCH:
                self._commits.overtake(desk, hook.epoch)

    def gone(self, instance: str) -> None:
        """Note that a process's stream has ended."""
        self._backlog.witnesses.gone(instance)
        for desk in self._desks:
            if instance in desk.seats:
                desk.seats[instance].connected = False
                desk.seats[instance].gone_ns = self._clock()
                self._accounts.gone(desk.hook, desk.seats[instance], self._clock())
                self._commits.notify(desk)

    def ack(self, instance: str, ack: delivery_pb2.Ack) -> None:
        """Take an acknowledgement or refusal of one resource into account."""
        disputed = self._backlog.witnesses.say(instance, ack.anchor, self._clock())
        if disputed is not None:
            self._backlog.note(disputed)
            self._backlog.account()
        for desk in self._desks:
            seat = desk.seats.get(instance)
            if seat is not None and desk.state is not None and _concerns(desk, ack):
                self._acked(desk, seat, ack)

    def _acked(self, desk: Desk, seat: Seat, ack: delivery_pb2.Ack) -> None:
        if ack.ok:
            if ack.resource == "manifest" and ack.epoch <= desk.epoch:
                seat.epoch = max(seat.epoch, ack.epoch)
                runs = assigned(desk.state) if desk.state and ack.epoch == desk.epoch else None
                self._accounts.acked(desk.hook, seat, ack.epoch, runs, self._clock())
        else:
            seat.error = ack.error[:500]
            body = {"hook": desk.hook, "resource": ack.resource, "error": seat.error}
            happened = Happened("delivery.refused", seat.instance, ack.name, body)
            self._backlog.note(happened)
            self._backlog.tell()
            self._commits.apply(desk, Nacked(seat.instance, ack.resource, seat.error))
        desk.unstored.add(seat.instance)
        self._commits.notify(desk)

    def report(self, instance: str, report: delivery_pb2.HookReport) -> None:
        """Take a process's report on one hook into account."""
        desk = self._desks.get(report.hook)
        seat = desk.seats.get(instance) if desk else None
        if desk is None or seat is None:
            return
        if report.killed[:500] != seat.killed:
            self._killed(desk, seat, report.killed[:500])
        self._accounts.counted(desk.hook, instance, plain_counters(report), self._clock())
        if desk.take(seat, report, self._clock()) and report.breaker:
            self._commits.apply(desk, Broke(instance, report.breaker[:500]))

    def _killed(self, desk: Desk, seat: Seat, why: str) -> None:
        """Account for a process in which somebody stopped all policies by hand, or lets them go again."""
        what = "delivery.killed" if why else "delivery.unkilled"
        body = {"hook": desk.hook, "why": why}
        self._backlog.note(Happened(what, seat.instance, desk.hook, body))
        seat.killed = why
        self._backlog.tell()
        self._commits.notify(desk)

    def settle(self, *, all_of_it: bool = False) -> None:
        """Write down what processes did, as far as it is due; with ``all_of_it`` also what could still wait."""
        for happened in self._accounts.due(self._clock(), all_of_it=all_of_it):
            self._backlog.note(happened)
        self._backlog.account()

    def keep(self, desk: Desk) -> None:
        """Let go of those that left a day ago, and store what a hook's processes said since the last time."""
        left = desk.leave(self._clock() - LISTED_NS)
        if left:
            self._store.drop_clients(desk.hook, [seat.instance for seat in left])
            self._accounts.forget(desk.hook, [seat.instance for seat in left])
        self._keep_clients(desk)
        if desk.state is not None:
            self._keep_reports(desk, desk.state.plan.id, desk.state.attempt)

    def _keep_clients(self, desk: Desk) -> None:
        """Store in one transaction what a tick's hellos and answers have changed.

        What a crash loses of it, the processes say again when they come back.
        """
        if desk.unstored:
            changed = [desk.seats[name] for name in desk.unstored if name in desk.seats]
            desk.unstored.clear()
            try:
                self._store.put_clients(_client_row(desk.hook, seat) for seat in changed)
            except RolloutError as error:  # it is for the list alone: no order may wait for it
                _log.warning("%d processes are not noted: %s", len(changed), error)

    def _keep_reports(self, desk: Desk, rollout: str, attempt: int) -> None:
        if desk.dirty:
            latest = {(r.instance, r.cell, r.block, r.arm): r for r in desk.dirty}
            self._store.put_reports(rollout, attempt, latest.values())
            desk.dirty = []
        if desk.pool is not None:
            gone = {seat.instance for seat in desk.seats.values() if not seat.connected}
            due = desk.pool.due(self._clock(), gone)
            sums = [(instance, report.SerializeToString()) for instance, report in due]
            self._store.put_sums(rollout, attempt, sums)
            for instance, _ in sums:
                desk.pool.stored(instance, self._clock())


def _concerns(desk: Desk, ack: delivery_pb2.Ack) -> bool:
    """Return whether an answer is about what is in force now."""
    if ack.resource == "manifest":
        return ack.name == desk.hook and (ack.ok or ack.epoch == desk.epoch)
    target = desk.state.target if desk.state else None
    return target is not None and ack.name in (target.stable, target.candidate)


def _client_row(hook: str, seat: Seat) -> ClientRow:
    return ClientRow(hook, seat.instance, seat.service, seat.cell, seat.epoch, seat.error)
