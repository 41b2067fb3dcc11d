"""Which arm to try next, when gains are rare, arms wear out and some cost more: asymmetric UCB.

Source: ShinkaEvolve (arXiv 2509.19349), after UCB1 (Auer et al. 2002). Changed: all is a function of what
was told and of the random numbers passed in; a cost that is not known stays so and never counts as cheap;
cheapness multiplies gains, where its source adds it, so that no arm is preferred for failing cheaply.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from ...sdk.errors import ConfigurationError

_MOST = 50.0  # a gain beyond it says no more, and its exponential stays a number
_FLOOR = (
    1e-9  # dollars: what costs nothing is not infinitely better than what costs next to nothing
)


class Bandit:
    """Chooses among named arms.

    A reward is a gain, 0 for none; only gains count, however bad a failure was, and large ones count more
    than in proportion (``e^gain - 1``). What is old fades with every result.

    Args:
        arms: names, each once.
        weights: in what proportion arms are tried while nothing sets them apart; None for equal ones.
        exploration: weight of the confidence term.
        epsilon: probability that is shared by all arms but the best.
        decay: what is left of an arm's past after each result of any arm.
        cost_weight: share of its gains that an arm loses when it is much dearer than the cheapest, from 0 to
            1; cost counts among arms whose cost is known.

    Raises:
        ConfigurationError: no arms, one named twice, or a number outside its range.
    """

    def __init__(
        self,
        arms: Sequence[str],
        weights: Sequence[float] | None = None,
        *,
        exploration: float = 1.0,
        epsilon: float = 0.2,
        decay: float = 0.95,
        cost_weight: float = 0.5,
    ) -> None:
        if not arms or len(set(arms)) < len(arms):
            raise ConfigurationError(f"arms={list(arms)}: name at least one, and each once")
        shares = list(weights) if weights is not None else [1.0] * len(arms)
        if len(shares) != len(arms) or not all(0 < share < math.inf for share in shares):
            raise ConfigurationError(f"weights={shares}: give each of {len(arms)} arms one above 0")
        if not (
            0 <= epsilon <= 1 and 0 < decay <= 1 and 0 <= cost_weight <= 1 and exploration >= 0
        ):
            raise ConfigurationError(
                f"epsilon={epsilon}, decay={decay}, cost_weight={cost_weight}, "
                f"exploration={exploration}: choose epsilon and cost_weight from 0 to 1, decay above 0 "
                "and up to 1, exploration not negative"
            )
        self.arms = tuple(arms)
        mean = sum(shares) / len(shares)
        self._arms = {arm: _Arm(share / mean) for arm, share in zip(arms, shares, strict=True)}
        self._exploration, self._epsilon = exploration, epsilon
        self._decay, self._cost_weight = decay, cost_weight
        self._largest = 0.0  # reward seen, faded, never below an arm's mean

    def pick(self, rng: random.Random) -> str:
        """Return an arm: one never submitted, else mostly the most valuable."""
        return self.ranked(rng)[0]

    def ranked(self, rng: random.Random) -> list[str]:
        """Return all arms, the one to try first; for when it has nothing to offer."""
        order = list(self.arms)
        rng.shuffle(order)  # ties go to nobody for ever
        values = self.values()
        order.sort(key=lambda arm: -values[arm])
        unseen = values[order[0]] == math.inf
        if not unseen and len(order) > 1 and rng.random() < self._epsilon:
            other = order.pop(rng.randrange(1, len(order)))
            order.insert(0, other)
        return order

    def values(self) -> dict[str, float]:
        """Return what every arm is worth trying; infinite when it was never submitted."""
        total = max(float(sum(arm.pulls for arm in self._arms.values())), 2.0)
        cheap = self._cheapness(total)
        return {name: self._value(arm, total, cheap.get(name)) for name, arm in self._arms.items()}

    def _value(self, arm: _Arm, total: float, cheapness: float | None) -> float:
        if arm.pulls == 0:
            return math.inf
        mean = arm.mean / self._largest if self._largest > 0 else 0.0
        if (
            cheapness is not None
        ):  # of what it gains: one that gains nothing is not worth more for being cheap
            mean *= 1.0 - self._cost_weight + self._cost_weight * cheapness
        return mean + self._exploration * math.sqrt(2.0 * math.log(total) * arm.share / arm.pulls)

    def _cheapness(self, total: float) -> dict[str, float]:
        """Return by arm the lowest cost over its own, costs taken optimistically; 0 where none is known.

        Empty when no cost is known at all, or when costs do not count.
        """
        known = {name: arm for name, arm in self._arms.items() if arm.costs}
        if not known or self._cost_weight == 0:
            return {}
        spread = max(arm.dearest for arm in known.values()) - min(
            arm.cheapest for arm in known.values()
        )
        low = {
            name: max(arm.cost - 0.1 * spread * math.sqrt(2 * math.log(total) / arm.costs), _FLOOR)
            for name, arm in known.items()
        }
        least = min(low.values())
        return {name: least / low[name] if name in low else 0.0 for name in self._arms}

    def submitted(self, arm: str) -> None:
        """Hear that an arm is being tried; its result comes later."""
        self._known(arm).submitted += 1

    def told(self, arm: str, reward: float, cost: float | None = None) -> None:
        """Hear the result of a try.

        Args:
            reward: gain, 0 or less (or NaN) for none: of failures, duplicates and refusals too.
            cost: dollars; None when it is not known.
        """
        tried = self._known(arm)
        gained = math.expm1(min(reward, _MOST)) if reward > 0 else 0.0
        tried.told += 1
        tried.reward += gained
        tried.weight += 1.0
        if cost is not None and cost >= 0:
            tried.paid(cost)
        for each in self._arms.values():
            each.fade(self._decay)
        highest = max(each.mean for each in self._arms.values())
        self._largest = max(_faded(max(self._largest, gained), self._decay), highest)

    def _known(self, arm: str) -> _Arm:
        if arm not in self._arms:
            raise ConfigurationError(f"unknown arm {arm!r}; known arms: {', '.join(self.arms)}")
        return self._arms[arm]


class _Arm:
    """What is known of one arm."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.submitted = self.told = self.costs = 0
        self.reward = self.weight = self._spent = 0.0
        self.cheapest, self.dearest = math.inf, 0.0

    @property
    def pulls(self) -> int:
        return max(self.submitted, self.told)

    @property
    def mean(self) -> float:
        return self.reward / max(self.weight, 1e-7)

    @property
    def cost(self) -> float:
        return self._spent / self.costs

    def paid(self, cost: float) -> None:
        self.costs += 1
        self._spent += cost
        self.cheapest, self.dearest = min(self.cheapest, cost), max(self.dearest, cost)

    def fade(self, decay: float) -> None:
        self.weight *= decay
        self.reward = _faded(self.reward, decay)


def _faded(value: float, decay: float) -> float:
    """Return what is left of a sum of rewards; large ones fade faster."""
    return decay * value / (1.0 + (1.0 - decay) * value)
