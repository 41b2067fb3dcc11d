"""What one process may cost: bounded queues, a pace, sizes; and what shows when updates stop."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.rollout import server, streams
from gnomon.policies.rollout.services.delivery import DeliveryService
from gnomon.sdk.errors import RolloutError
from gnomon.v1 import delivery_pb2, delivery_pb2_grpc, policy_pb2

from .test_server import HOOK, Running, client, running, settings

__all__ = ["client", "running", "settings"]  # fixtures


def manifest(hook: str, number: int, size: int = 10) -> delivery_pb2.ServerMessage:
    envelope = policy_pb2.Envelope(payload=bytes([number % 256]) * size)
    push = delivery_pb2.ManifestPush(hook=hook, envelope=envelope)
    return delivery_pb2.ServerMessage(nonce=str(number), manifest=push)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_a_slow_reader_finds_the_newest_manifest_of_every_hook_once(
    script: list[tuple[str, bool]],
) -> None:
    outbox, waiting = streams.Outbox(), {}
    for number, (hook, read) in enumerate(script, 1):
        replaced = outbox.put(manifest(hook, number))
        assert replaced == str(waiting.pop(hook, ""))
        waiting[hook] = number
        if read:
            taken = outbox.get_nowait()
            assert taken is not None
            assert waiting.pop(taken.manifest.hook) == int(taken.nonce)
    outbox.end()
    rest = iter(outbox.get_nowait, None)
    assert [int(message.nonce) for message in rest] == list(waiting.values())
    assert outbox.get_nowait() is None


def test_what_waits_is_bounded_in_bytes() -> None:
    outbox = streams.Outbox()
    for number in range(40):
        outbox.put(manifest(f"hook{number}", number, size=1 << 18))
        if number < 31:
            assert outbox._bytes > number << 18
    assert outbox._bytes <= streams.MOST_WAITING
    while outbox.get_nowait() is not None:
        pass


def test_waiting_for_a_message_wakes_with_it() -> None:
    async def scene() -> None:
        outbox = streams.Outbox()
        getting = asyncio.create_task(outbox.get())
        await asyncio.sleep(0)
        outbox.put(manifest("a", 1))
        got = await getting
        assert got is not None
        assert got.nonce == "1"
        outbox.end()
        assert await outbox.get() is None

    asyncio.run(scene())


def test_a_process_that_never_answers_is_ended_and_holds_nothing() -> None:
    stream = streams.Stream(0.0)
    for number in range(streams.MOST_UNANSWERED + 1):
        stream.put(manifest("a", number), "")
        taken = stream.outbox.get_nowait()
        assert taken is not None, f"ended after {number}"
    assert stream.outbox.get_nowait() is None


def test_superseded_manifests_need_no_answer() -> None:
    stream = streams.Stream(0.0)
    for number in range(5 * streams.MOST_UNANSWERED):
        stream.put(manifest("a", number), "")
    taken = stream.outbox.get_nowait()
    assert taken is not None
    assert stream.answered(delivery_pb2.Ack(nonce=taken.nonce, ok=True))
    assert not stream.answered(delivery_pb2.Ack(nonce=taken.nonce, ok=True)), "once"
    assert not stream.answered(delivery_pb2.Ack(nonce="1", ok=True)), "never sent"


def test_a_flood_is_read_at_its_pace_and_a_usual_process_never_waits() -> None:
    pace = streams.Pace(0.0)
    waits = [pace.wait_s(0.0, 1) for _ in range(streams.BURST + 220)]
    assert max(waits[: streams.BURST]) == 0.0
    assert waits[-1] == pytest.approx(1.0)
    usual, now = streams.Pace(0.0), 0.0
    for _ in range(10_000):  # ten hooks report ten times a second, and acknowledge as often
        now += 1.0 / 200
        assert usual.wait_s(now, 10) == 0.0


def hello(instance: str = "aa", hooks: int = 1, **node: str) -> delivery_pb2.Hello:
    states = [delivery_pb2.HookState(hook=f"h{number}") for number in range(hooks)]
    return delivery_pb2.Hello(
        node=delivery_pb2.Node(instance=instance, service="s", **node), hooks=states
    )


def test_the_hooks_of_a_stream_are_bounded_over_all_its_hellos(world: Any) -> None:
    service, stream = DeliveryService(world.control), streams.Stream(0.0)
    service._receive(stream, delivery_pb2.ClientMessage(hello=hello(hooks=streams.MOST_HOOKS)))
    more = hello(hooks=1)
    more.hooks[0].hook = "one more"
    with pytest.raises(RolloutError, match="at most 256 hooks"):
        service._receive(stream, delivery_pb2.ClientMessage(hello=more))
    with pytest.raises(RolloutError, match="cannot speak for another"):
        service._receive(stream, delivery_pb2.ClientMessage(hello=hello("bb")))


def test_greetings_beyond_the_limits_are_refused() -> None:
    held = hello()
    held.hooks[0].bundles.extend(["d"] * 65)
    for bad, others, why in (
        (hello(""), 0, "needs an instance"),
        (hello(cell="c" * 257), 0, "257 characters"),
        (held, 0, "65 bundles"),
        (hello(), streams.MOST_STREAMS, "4096 streams are open"),
    ):
        with pytest.raises(RolloutError, match=why):
            streams.check_hello(bad, (), others)
    streams.check_hello(hello(), (), streams.MOST_STREAMS - 1)


def test_reports_beyond_the_limits_end_the_stream_and_change_nothing(world: Any) -> None:
    service, stream = DeliveryService(world.control), streams.Stream(0.0)
    service._receive(stream, delivery_pb2.ClientMessage(hello=hello()))
    counters = {f"c{number}": 1 for number in range(streams.MOST_COUNTERS + 1)}
    report = delivery_pb2.HookReport(hook="h0", counters=counters)
    with pytest.raises(RolloutError, match="513 counters; at most 512"):
        service._receive(stream, delivery_pb2.ClientMessage(report=report))
    assert all(not seat.counters for seat in world.control.clients("h0"))
    unknown = delivery_pb2.HookReport(hook="nobody's", counters={"decisions": 1})
    service._receive(stream, delivery_pb2.ClientMessage(report=unknown))
    assert world.control.clients("nobody's") == []


def test_a_process_with_a_taken_id_takes_the_stream_over(world: Any) -> None:
    service = DeliveryService(world.control)
    first, second = streams.Stream(0.0), streams.Stream(0.0)
    for stream in (first, second):
        service._receive(stream, delivery_pb2.ClientMessage(hello=hello()))
    assert first.outbox.get_nowait() is None
    service._leave(first)
    (seat,) = world.control.clients("h0")
    assert seat.connected, "the second one is there"
    service._leave(second)
    assert not seat.connected


def test_answers_of_a_fleet_are_stored_in_one_transaction(world: Any, monkeypatch: Any) -> None:
    stored: list[int] = []
    put = world.store.put_clients
    monkeypatch.setattr(
        world.store, "put_clients", lambda rows: stored.append(len(kept := list(rows))) or put(kept)
    )
    world.ship()
    for number in range(20):
        world.join(f"p{number}")
    assert stored == []
    world.control.tick()
    world.control.tick()
    assert stored == [22]
    assert {row.epoch for row in world.store.clients() if row.hook == HOOK} == {1}


def test_a_process_that_stops_reading_delays_nobody_and_holds_one_manifest(
    running: Running, monkeypatch: Any
) -> None:
    """Far more is pushed than the transport's windows hold; only the newest waits for who does not read."""
    service, rounds, size = running.plane._delivery, 200, 1 << 17
    with (
        grpc.insecure_channel(running.address) as one,
        grpc.insecure_channel(running.address) as two,
    ):
        stalled = _joined(one, "stalled")
        reader = _joined(two, "reader")
        _eventually(lambda: set(service._streams) == {"stalled", "reader"})
        for number in range(1, rounds + 1):
            push = manifest("h0", number, size)
            monkeypatch.setattr(running.plane.control, "pushes", lambda *_, push=push: [push])
            running.call(lambda: service.publish("h0"))
            got = next(reader)
            assert got.manifest.envelope.payload[:1] == bytes([number % 256])
        waiting = service._streams["stalled"]
        assert len(waiting.outbox._waiting) == 1
        assert size < waiting.outbox._bytes < 2 * size
        assert len(waiting._sent) < rounds / 2, "what was replaced needs no answer"
        newest = next(each for each in stalled if each.manifest.envelope.payload[:1] == b"\xc8")
        assert newest.nonce == str(rounds), "once it reads again it gets to the newest"
        for call in (stalled, reader):
            call.cancel()


def _joined(channel: grpc.Channel, instance: str) -> Any:
    """Open a stream whose answers are read only when they are asked for."""
    said = iter([delivery_pb2.ClientMessage(hello=hello(instance))])
    silent = threading.Event()

    def requests() -> Iterator[delivery_pb2.ClientMessage]:
        yield from said
        silent.wait(60)

    stub = delivery_pb2_grpc.DeliveryStub(channel)
    call = stub.Connect(requests())
    call.add_callback(silent.set)
    return call


def _eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_when_ticks_fail_health_says_so_and_heartbeats_stop(
    running: Running, monkeypatch: Any
) -> None:
    beats, missed = threading.Semaphore(0), threading.Semaphore(0)
    counted: list[int] = []
    monkeypatch.setattr(server, "TICK_S", 0.005)
    monkeypatch.setattr(server, "_TICKS_A_BEAT", 2)
    broken = [False]
    tick = running.plane.control.tick

    def beat() -> None:
        counted.append(1)
        beats.release()

    def failing() -> None:
        if broken[0]:
            missed.release()
            raise sqlite3.OperationalError("disk full")
        tick()

    monkeypatch.setattr(running.plane._delivery, "beat", beat)
    monkeypatch.setattr(running.plane.control, "tick", failing)
    with grpc.insecure_channel(running.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        said = (health_pb2.HealthCheckResponse.ServingStatus.Name(one.status) for one in watch)
        assert next(said) == "SERVING"
        assert beats.acquire(timeout=30), "a beat while all is well"
        broken[0] = True
        assert next(said) == "NOT_SERVING"
        before = len(counted)
        for _ in range(10):  # five beats' worth of ticks fail
            assert missed.acquire(timeout=30)
        assert len(counted) == before
        while beats.acquire(blocking=False):
            pass
        broken[0] = False
        assert next(said) == "SERVING"
        assert beats.acquire(timeout=30), "and again when it is well"
        watch.cancel()
