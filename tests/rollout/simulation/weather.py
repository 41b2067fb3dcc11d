"""How hard a simulated world is: everything that is drawn once per seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

SECOND = 1_000_000_000
#: How often the patient ship where a policy is stable, per second.
PATIENT = 0.06


@dataclass(frozen=True, slots=True)
class Weather:
    """Rates of trouble of one world; rates are per message, per write or per second as named.

    Attributes:
        processes, cells, hooks: how many.
        seconds: simulated before all heals.
        delay_s: longest usual delay of a message.
        drop, reorder, duplicate, replay, forge: shares of messages.
        breaks, half_open, partition: of a process's link, per second.
        crash, plane_crash: of a process and of the control plane, per second.
        writes: share of the control plane's and of processes' writes at which they die.
        disk_full: of the control plane, per second; lasts some seconds.
        lose_state: share of restarts of a process that find an empty folder.
        skew_s: largest usual error of a clock; a few processes have four times that.
        jump: of a process's clock, per second.
        orders, exclusions: per second.
        breaker, killed: trips and kill switches of a process, per second.
        drift: of a hook's workload, there and back, per second.
        keys: rotations and revocations of keys, per second.
        ships: of a hook whose policy is stable, per second; the patient see policies grow old.
        restores: of an older copy of the control plane's files, per second since it was taken.
    """

    processes: int
    cells: int
    hooks: int
    seconds: float
    delay_s: float
    drop: float
    reorder: float
    duplicate: float
    replay: float
    forge: float
    breaks: float
    half_open: float
    partition: float
    crash: float
    plane_crash: float
    writes: float
    disk_full: float
    lose_state: float
    skew_s: float
    jump: float
    orders: float
    exclusions: float
    breaker: float
    killed: float
    drift: float
    keys: float
    restores: float
    ships: float

    @property
    def clock_error_ns(self) -> int:
        """Largest error that any clock can have, the control plane's included, plus a margin."""
        return round((2 * 4 * self.skew_s + 1.0) * SECOND)


def draw(rng: random.Random) -> Weather:
    """Draw a world: most troubles are absent in most worlds, so that the others get far."""

    def rate(most: float, share: float = 0.35) -> float:
        return most * rng.random() if rng.random() < share else 0.0

    ships = rng.choice((0.4, 0.4, PATIENT))
    return Weather(
        processes=rng.choice((1, 2, 2, 3, 3, 4, 6, 8)),
        cells=rng.choice((1, 1, 1, 2, 3)),
        hooks=rng.choice((1, 1, 2, 3)),
        seconds=rng.uniform(30.0 if ships > PATIENT else 80.0, 110.0),
        delay_s=rng.choice((0.02, 0.05, 0.3, 1.5)),
        drop=rate(0.08),
        reorder=rate(0.2),
        duplicate=rate(0.1),
        replay=rate(0.05),
        forge=rate(0.02),
        breaks=rate(0.05),
        half_open=rate(0.03),
        partition=rate(0.03),
        crash=rate(0.03),
        plane_crash=rate(0.05),
        writes=rate(0.02, 0.5),
        disk_full=rate(0.06, 0.3),
        lose_state=rng.choice((0.0, 0.0, 0.3)),
        skew_s=rng.choice((0.01, 0.05, 0.05, 1.0)),
        jump=rate(0.02, 0.2),
        orders=rate(0.25, 0.7) if ships > PATIENT else 0.02,
        exclusions=rate(0.05, 0.2),
        breaker=rate(0.01, 0.3),
        killed=rate(0.01, 0.2),
        drift=rate(0.1, 0.4) if ships > PATIENT else rng.uniform(0.03, 0.15),
        keys=rate(0.06, 0.25),
        restores=rate(0.06, 0.15),
        ships=ships,
    )
