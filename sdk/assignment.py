"""Which arm decides when: the part of a manifest that the hook runs on, and its randomisation.

Both the service and the control plane compute arms from the same salt, so neither has to tell the
other which block, or which slice of the units, belonged to which arm.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .records import INCUMBENT

if TYPE_CHECKING:
    from .language import ArrayProgram, Program

Phase = Literal["stable", "shadow", "canary", "full", "killed"]

SWITCHBACK = "switchback"
NEVER_NS = 2**63 - 1  # a lease without end, for tests and for a stable that needs no renewal


@dataclass(frozen=True, slots=True)
class Switchback:
    """Paired switchback blocks: the arms alternate in time, in random order within each pair.

    Attributes:
        salt: random bytes, fresh for every attempt of a rollout.
        cell: name of the group of processes that share state and so switch together.
        block_ns: length of one block.
        burn_in_ns: start of a block whose decisions are not measured (carry-over).
        skew_ns: end of a block whose decisions are not measured (clocks differ).
        weight: share of decisions that the candidate may have, 0 to 0.5; 2 x weight of all pairs are
            live, in the others both blocks are stable.
        paired: both arms answer for the same traffic in every block (a cache and a ghost of the other
            arm), so that blocks only divide time; the weight is then a share of keys, 0 to 1.
    """

    salt: bytes
    cell: str
    block_ns: int
    burn_in_ns: int
    skew_ns: int
    weight: float
    paired: bool = False

    def block(self, time_ns: int) -> int:
        """Return the block that a Unix time lies in."""
        return time_ns // self.block_ns

    def live(self, pair: int) -> bool:
        """Return whether the candidate answers in a pair of blocks at all."""
        if self.paired:
            return self.weight > 0.0
        return uniform(b"live", self.salt, self.cell, pair) < 2.0 * self.weight

    def candidate(self, block: int) -> bool:
        """Return whether the candidate decides in a block: one of each live pair, by a fair coin.

        Paired arms both answer in every block.
        """
        pair, second = divmod(block, 2)
        if self.paired or not self.live(pair):
            return self.paired and self.live(pair)
        return (uniform(b"order", self.salt, self.cell, pair) < 0.5) != bool(second)

    def measured(self, time_ns: int) -> bool:
        """Return whether a decision at this time counts: after burn-in, before the skew margin."""
        offset = time_ns % self.block_ns
        return self.burn_in_ns <= offset < self.block_ns - self.skew_ns


@dataclass(frozen=True, slots=True)
class Sticky:
    """Sticky arms: units are divided into slices by a hash, and the first slices are the candidate's.

    A unit keeps its slice as long as the salt stays, and a slice that the candidate has it keeps at
    every higher weight. The slice is that of flagd's ``fractional`` bucketing: MurmurHash3 (x86, 32
    bit, seed 0) of the salt's hexadecimal digits and the unit as one UTF-8 text (lone surrogates as they are), times the number of
    slices, shifted right by 32 bits.

    Attributes:
        salt: random bytes, fresh for every attempt of a rollout.
        slices: how many there are.
        weight: share of the slices that the candidate has, 0 to 1.
    """

    salt: bytes
    slices: int
    weight: float

    @property
    def candidates(self) -> int:
        """How many slices are the candidate's: those of a lower number than that."""
        return round(self.weight * self.slices)

    @property
    def bound(self) -> int:
        """Hashes below it lie in slices of the candidate's: the same as a slice below :attr:`candidates`."""
        return -(-(self.candidates << 32) // self.slices)

    def slice(self, unit: str) -> int:
        """Return the slice of a unit."""
        import mmh3  # not needed where no arms are sticky

        # As bytes: mmh3 5.3.1 ends the process over a text with a lone surrogate.
        text = (self.salt.hex() + unit).encode("utf-8", "surrogatepass")
        return mmh3.mmh3_32_uintdigest(text) * self.slices >> 32

    def candidate(self, unit: str) -> bool:
        """Return whether the candidate decides for a unit."""
        return self.slice(unit) < self.candidates


#: How a canary's decisions are divided between its arms.
Design = Switchback | Sticky


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a hook runs from now on: a verified manifest with its bundles at hand.

    Attributes:
        epoch: of the manifest; 0 without one.
        phase: ``stable``, ``shadow``, ``canary``, ``full`` or ``killed``.
        stable: program of the stable arm; None for the function in the service's own source.
        candidate: program of the candidate; None when there is none.
        stable_digest: names the stable arm in records; ``incumbent`` without a program.
        candidate_digest: names the candidate in records; empty when there is none.
        switchback: when the candidate decides; in phase ``canary`` this or ``sticky`` is needed.
        sticky: for whom the candidate decides.
        lease_until_ns: time.monotonic_ns() after which the stable arm decides.
        shadow_rate: share of recorded decisions, in phase ``shadow``, on which the candidate is
            computed beside the stable arm.
    """

    epoch: int = 0
    phase: Phase = "stable"
    stable: Program | ArrayProgram | None = None
    candidate: Program | ArrayProgram | None = None
    stable_digest: str = INCUMBENT
    candidate_digest: str = ""
    switchback: Switchback | None = None
    sticky: Sticky | None = None
    lease_until_ns: int = NEVER_NS
    shadow_rate: float = 0.01

    @property
    def design(self) -> Design | None:
        """How decisions are divided and measured; None where they are not."""
        return self.switchback or self.sticky


def uniform(domain: bytes, salt: bytes, cell: str, index: int) -> float:
    """Return a uniform draw in [0, 1) that is a pure function of its arguments."""
    digest = hashlib.sha256(
        b"\x00".join((domain, salt.hex().encode(), cell.encode(), b"%d" % index))
    )
    return int.from_bytes(digest.digest()[:8], "big") / 2.0**64
