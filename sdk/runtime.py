"""The one object of a process: its id, its hooks, and the thread that empties them."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from ._log import say
from .config import Settings, Sink
from .errors import ConfigurationError
from .feeding import Feed, feeds
from .kill import KillFile, KillSwitch, of_environment

if TYPE_CHECKING:
    from .records import Record
    from .telemetry.accounting import Account

EXIT_DEADLINE_S = 2.0
#: Seconds between two looks at the kill file, which is to be noticed within a second.
LOOK_S = 0.25


class Registered(Protocol):
    """What the runtime needs of a hook, be it a function's or a cache's."""

    measure: Any  # set by delivery; its ``add`` takes every drained record

    @property
    def name(self) -> str:
        """Name of the hook, unique in the process."""
        ...

    @property
    def place(self) -> str:
        """What has the name, for messages."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing more will come and the name is free."""
        ...

    def replaces(self, known: Any) -> bool:
        """Return whether this hook may have the name of another."""
        ...

    def take_over(self, known: Any) -> None:
        """Go on where the hook that had the name stopped."""

    def on(self, settings: Settings) -> None:
        """Begin to decide and record under settings, with nothing counted yet."""

    def off(self) -> None:
        """Run the incumbent and record nothing more; what waits can still be drained."""

    def end(self) -> None:
        """Be off for good, and leave the name to others."""

    def begin_again(self) -> None:
        """Start, while off, as a new process does."""

    def kill(self, why: str) -> None:
        """Run the incumbent from the next call on, whatever is installed; an empty text ends that."""

    def drain(self) -> list[Record]:
        """Return what was recorded since the last time."""
        ...


class Delivery(Protocol):
    """Brings assignments to the hooks."""

    def start(self) -> None:
        """Begin, unless it runs."""

    def stop(self) -> object:
        """End within a short time."""


class Runtime:
    """Hooks of this process and where their records go. Nothing runs before a first call.

    Attributes:
        process_id: 8 random bytes; others in every forked child.
        hooks: by name.
        settings: in force; None while unconfigured.
        delivery: brings assignments from the control plane; None without one.
        failed_writes: how often a sink, a measure or a hook's drain raised since it was configured.
        at_start: called when the drainer starts, before anything else.
        kills: in force in this process, and in its forks.
    """

    def __init__(self) -> None:
        self.hooks: dict[str, Any] = {}
        self.settings: Settings | None = None
        self.delivery: Delivery | None = None
        self.at_start: Callable[[], object] = lambda: None
        self._sinks: tuple[Feed, ...] = ()
        self._closed: tuple[Feed, ...] = ()
        self._make_delivery: Callable[[], Delivery] | None = None
        self._kill_file: KillFile | None = None
        self.kills = KillSwitch()
        self._fresh()

    def _fresh(self) -> None:
        """Have nothing running, as at first or in a forked child."""
        self.process_id = os.urandom(8)
        self.failed_writes = 0
        self._lock = threading.RLock()
        self._round = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._watcher: threading.Thread | None = None
        self.kills.lock = threading.RLock()

    def register(self, hook: Registered) -> None:
        """Take up a hook; one of the same name is replaced only by its own function, reloaded.

        A cache that ended leaves its name to the next. Raises ConfigurationError when another function
        or cache has the name.
        """
        with self._lock:
            known = self.hooks.get(hook.name)
            if known is not None and not hook.replaces(known):
                raise ConfigurationError(
                    f"hook {hook.name!r} is already {known.place}; give {hook.place} another name"
                )
            if known is not None:
                known.off()
            self.hooks[hook.name] = hook
            with self.kills.lock:
                hook.kill(self.kills.why(hook.name))
            if self.settings is not None:
                hook.on(self.settings)
            if known is not None:
                hook.take_over(known)

    def release(self, hook: Registered) -> None:
        """End a hook; its name is free once what it recorded has been drained."""
        hook.end()
        with self._lock:
            if self.settings is None:
                self._forget(hook)

    def _forget(self, hook: Registered) -> None:
        if self.hooks.get(hook.name) is hook:
            del self.hooks[hook.name]

    def configure(
        self,
        settings: Settings,
        sinks: Sequence[Sink],
        delivery: Callable[[], Delivery] | None = None,
    ) -> None:
        """Switch the hooks on, or off when there is nothing to do for them; ends what ran before.

        Args:
            settings: in force from now on.
            sinks: where records go.
            delivery: makes the client of the control plane, on the drainer's thread.
        """
        self.shutdown()
        self.failed_writes = 0  # of the new sinks the first failure is said again
        with self._lock:
            self._sinks, self._closed = feeds(sinks), ()
            self._make_delivery = delivery
            idle = not self._sinks and delivery is None
            self.settings = None if settings.disabled or idle else settings
            if self.settings is not None:
                self._kill_file = KillFile(settings.state_dir)
                self.kills.take("environment", of_environment(settings.kill))
                self.look(afresh=True)
                for hook in self.hooks.values():
                    hook.on(self.settings)

    def started(self) -> None:
        """Start the drainer, if it does not run; called when a hook had its first call."""
        if self._thread is not None or self.settings is None:
            return
        with self._lock:
            if self._thread is None and self.settings is not None:
                self._stopping = threading.Event()
                self._thread = threading.Thread(
                    target=self._run,
                    args=(self.settings, self._stopping),
                    name="gnomon",
                    daemon=True,
                )
                self.look()
                self._watcher = threading.Thread(
                    target=self._watch, args=(self._stopping,), name="gnomon-kill", daemon=True
                )
                with self._survived("drainer"):  # no thread can start while the interpreter ends
                    self._thread.start()
                    self._watcher.start()

    def look(self, *, afresh: bool = False) -> None:
        """Take up what the kill file says now.

        Args:
            afresh: apply what is in force in any case.
        """
        file = self._kill_file
        if file is None:
            return
        with self.kills.lock:
            if self.kills.take("file", file.kills()) or afresh:
                self.apply_kills()

    def apply_kills(self) -> None:
        """Have every hook do as the kills in force say, from its next call on."""
        with self.kills.lock:
            for hook in list(self.hooks.values()):
                with self._survived("kill"):
                    hook.kill(self.kills.why(hook.name))

    def _watch(self, stopping: threading.Event) -> None:
        """Look at the kill file, whatever the drainer, a sink or the network may be busy with."""
        while not stopping.wait(LOOK_S):
            with self._survived("kill file"):
                self.look()

    def tripped(self, hook: Any, reason: str) -> None:
        """Say that a program was taken back in this process."""
        text = "hook %r: a program was taken back in this process: %s"
        say(logging.WARNING, text, hook.name, reason)

    def said(self, hook: Any, why: str) -> None:
        """Say that the policies of a hook may not decide any more, or may again."""
        if why:
            text = "hook %r: its own function decides from now on: %s"
            say(logging.WARNING, text, hook.name, why)
        else:
            say(logging.WARNING, "hook %r: no longer killed; policies may decide again", hook.name)

    def flush(self, timeout_s: float = 5.0) -> None:
        """Drain every hook and have the sinks hand on what they hold, within a time."""
        end = time.monotonic() + timeout_s
        self.round()
        for sink in self._sinks:
            with self._survived("flush"):
                sink.flush(max(0.0, end - time.monotonic()))

    def shutdown(self, timeout_s: float = EXIT_DEADLINE_S) -> None:
        """Switch the hooks off, hand on what waits, and stop the threads, within a time."""
        end = time.monotonic() + timeout_s
        with self._lock:
            if self.settings is None and not self._sinks:
                return
            self.settings = None
            threads = (self._thread, self._watcher)
            self._thread = self._watcher = None
        for hook in list(self.hooks.values()):
            with self._survived("off"):
                hook.off()
        self._stopping.set()
        for thread in threads:
            if thread is None or thread is threading.current_thread():
                continue
            if thread.is_alive():  # one that could not be started cannot be joined
                thread.join(max(0.0, end - time.monotonic()))
        self.round()  # before delivery stops: its last report covers these records
        self._stop_delivery()
        self.round()  # what was being decided meanwhile
        for sink in self._sinks:
            with self._survived("close"):
                sink.close(max(0.0, end - time.monotonic()))
        self._sinks, self._closed = (), self._sinks

    def accounts(self) -> dict[str, Account]:
        """Return what became of the records of this process, by sink.

        After :meth:`shutdown` the last sinks are told of, until others are configured.
        """
        return {feed.name: feed.account() for feed in self._sinks or self._closed}

    def round(self) -> None:
        """Drain every hook once into the sinks and the measure."""
        with self._round:
            for hook in list(self.hooks.values()):
                ended = hook.ended  # asked first, so that nothing comes after the last drain
                records: list[Record] = []
                with self._survived("drain"):  # of one hook, and the others go on
                    records = hook.drain()
                if ended:
                    self._forget(hook)
                if not records:
                    continue
                if hook.measure is not None:
                    with self._survived("measure"):
                        for record in records:
                            hook.measure.add(record)
                for sink in self._sinks:
                    with self._survived("write"):
                        sink.write(hook, records)

    def _run(self, settings: Settings, stopping: threading.Event) -> None:
        with self._survived("start"):
            self.at_start()
        self._start_delivery()
        if stopping.is_set():  # shutdown did not wait for the start
            self._stop_delivery()
        while not stopping.wait(settings.flush_interval_s):
            with self._survived("drain"):
                self.round()

    def _start_delivery(self) -> None:
        with self._survived("delivery"):
            # After a fork there is one already: it takes care of itself.
            if self.delivery is None and self._make_delivery is not None:
                self.delivery = self._make_delivery()
            if self.delivery is not None:
                self.delivery.start()

    def _stop_delivery(self) -> None:
        delivery, self.delivery = self.delivery, None
        if delivery is not None:
            with self._survived("delivery"):
                delivery.stop()

    def _survived(self, what: str) -> contextlib.AbstractContextManager[None]:
        return _Survived(self, what)

    def after_fork(self) -> None:
        """Begin again in a forked child: another id, no thread, none of the parent's records."""
        self._fresh()
        for feed in self._sinks:
            feed.reset()
        for hook in self.hooks.values():
            if self.settings is not None:
                hook.on(self.settings)
            else:
                hook.begin_again()


class _Survived:
    """Keeps a failure of a sink, or of delivery, from ending the drainer: it is counted and logged."""

    def __init__(self, runtime: Runtime, what: str) -> None:
        self._runtime = runtime
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        self._runtime.failed_writes += 1
        if self._runtime.failed_writes == 1:
            text = "%s failed, further failures are only counted: %s"
            say(logging.ERROR, text, self._what, error)
        return True


RUNTIME = Runtime()
os.register_at_fork(after_in_child=RUNTIME.after_fork)
atexit.register(RUNTIME.shutdown)
