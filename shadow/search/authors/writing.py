"""The proposer that has programs written: it says to whom a brief goes, and what it says.

How to ask (a diff in six of ten, a whole program in three, two programs joined in one) is ShinkaEvolve's
(arXiv 2509.19349), and so is that a program which is no good is given back with what was wrong.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ....sdk.errors import ConfigurationError
from ..context import Choice, Context
from ..records import Brief, Outcome, Prompt, Record
from .memory import WRITE, Memory
from .prompts.builder import MOST_SOURCE, Edit, Mode, Prompts, Request

#: How often a diff is asked for, and how often two programs are joined; else a whole program.
DIFF, CROSS = 0.6, 0.1
#: Lines of a program below which it is always written whole.
SHORT = 12
#: How often a program that waits for repair is given back instead of changing what the strategy chose.
REPAIR = 0.5
#: How often a model is drawn by its weight alone.
EXPLORE = 0.2


class Learner(Protocol):
    """Learns which model is worth asking, as a cost-aware bandit does."""

    def values(self) -> Mapping[str, float]:
        """Return what every arm is worth trying; infinite when it never was."""
        ...

    def submitted(self, arm: str) -> None:
        """Hear that an arm is being tried."""
        ...

    def told(self, arm: str, reward: float, cost: float | None = None) -> None:
        """Hear of the result: the gain, 0 for none, and dollars, None when unknown."""
        ...


class Breaker(Protocol):
    """Says which models are worth asking at all, after calls that failed."""

    def allowed(self, step: int) -> Sequence[str]:
        """Return the models that may be asked at a step."""
        ...

    def asked(self, step: int, model: str) -> None:
        """Hear that a model is asked at a step."""
        ...

    def learn(self, record: Record) -> None:
        """Hear what became of a proposal, whoever made it."""
        ...


@dataclass(frozen=True, slots=True)
class Arm:
    """A model that may be asked.

    Attributes:
        name: as briefs are addressed.
        weight: how much more or less often than the others it is asked while nothing sets them apart, above
            0; the learner knows it, too.
        max_tokens: of an answer.
        reserve: returns the dollars that a call can cost at most, for a prompt and the tokens of an answer;
            infinite when its price is not known.
    """

    name: str
    weight: float = 1.0
    max_tokens: int = 2048
    reserve: Callable[[Prompt, int], float] = lambda _prompt, _tokens: 0.0

    def __post_init__(self) -> None:
        if not (0.0 < self.weight < math.inf and self.max_tokens >= 1):
            raise ConfigurationError(
                f"model {self.name!r}: weight={self.weight:g}, max_tokens={self.max_tokens}; give a "
                "weight above 0 and at least one token"
            )


class Written:
    """Proposes briefs: what the strategy chose, put to one of several models.

    It has nothing to propose while the breaker allows no model, and where no model's call can be paid for.

    Args:
        models: whom to ask.
        prompts: builds what they read.
        learner: learns from what became of it; its arms are the models' names.
        breaker: which of them to ask; None asks all.
    """

    def __init__(
        self,
        models: Sequence[Arm],
        prompts: Prompts,
        learner: Learner,
        breaker: Breaker | None = None,
    ) -> None:
        self._models = tuple(models)
        self._prompts = prompts
        self._learner = learner
        self._breaker = breaker
        self._memory = Memory()
        self._asked: dict[int, tuple[str, float]] = {}  # by step: the model, and the score to beat

    def header(self) -> dict[str, Any]:
        """Return what its briefs depend on, besides what a search knows, for the header of the log."""
        models = {each.name: [each.weight, each.max_tokens] for each in self._models}
        prompts = self._prompts
        return {"models": models, "prompts": prompts.digest, "lessons": list(prompts.lessons)}

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Brief | None:
        """Return a brief; None while models are not asked or cannot be paid."""
        allowed = self._allowed(context.step)
        if not allowed:
            return None
        request = self._request(choice, context, rng)
        prompt = self._prompts.build(request)
        for model in self._order(allowed, rng):
            reserve = model.reserve(prompt, model.max_tokens)
            if reserve <= context.money:
                self._note(request, context, model)
                return _brief(request, prompt, model, reserve, choice, rng)
        return None

    def _request(self, choice: Choice, context: Context, rng: random.Random) -> Request:
        broken = self._memory.broken
        parent = choice.parent
        mode: Mode = "change"
        if parent is None:
            parent = broken or self._memory.last_failed
            mode = "fresh" if parent is None else "fix"
        elif broken is not None and rng.random() < REPAIR:
            parent, mode = broken, "fix"
        elif parent.outcome is not Outcome.OK:
            mode = "fix"
        drawn = rng.random()
        others = tuple(each for each in choice.others if each != parent)
        if mode == "change" and others and (drawn >= 1.0 - CROSS or choice.note == "merge"):
            mode = "cross"
        edit: Edit = "diff" if drawn < DIFF and mode != "cross" and _long(parent) else "full"
        return self._memory.request(
            mode,
            edit,
            parent,
            others,
            segments=choice.segments,
            note=choice.note,
            hints=context.hints,
        )

    def _allowed(self, step: int) -> list[Arm]:
        if self._breaker is None:
            return list(self._models)
        names = self._breaker.allowed(step)
        return [each for each in self._models if each.name in names]

    def _order(self, models: list[Arm], rng: random.Random) -> list[Arm]:
        """Return the models, the one to ask first; the others for when it cannot be paid."""
        worth = self._learner.values()  # by weight and gain
        order = sorted(models, key=lambda each: -worth[each.name])
        new = [each for each in models if worth[each.name] == math.inf]
        drawn = new or (models if rng.random() < EXPLORE else order[:1])
        first = rng.choices(drawn, [each.weight for each in drawn])[0]
        return [first, *(each for each in order if each is not first)]

    def _note(self, request: Request, context: Context, model: Arm) -> None:
        if request.mode == "fix" and request.parent is not None:
            self._memory.given_back(request.parent)
        parent, best = request.parent, self._memory.best
        scored = parent if parent is not None and math.isfinite(parent.score) else best
        self._asked[context.step] = (model.name, scored.score if scored else math.nan)
        self._learner.submitted(model.name)
        if self._breaker is not None:
            self._breaker.asked(context.step, model.name)

    def learn(self, record: Record) -> None:
        """Remember a result, and let the model that was asked for it count as as good as that."""
        self._memory.learn(record)
        if self._breaker is not None:
            self._breaker.learn(record)
        asked = self._asked.pop(record.step, None)
        if asked is not None:
            self._learner.told(asked[0], _gain(asked[1], record.score), _paid(record))


def _long(parent: Record | None) -> bool:
    """Return whether a program is long enough to be changed by a diff, and can be shown whole."""
    return parent is not None and (
        parent.source.count("\n") >= SHORT and len(parent.source) < MOST_SOURCE
    )


def _paid(record: Record) -> float | None:
    """Return what an answer cost; None where there was nothing to pay for: an error, or one known before."""
    return record.cost if record.tokens_in or record.tokens_out else None


def _gain(base: float, score: float) -> float:
    """Return by which fraction a score is lower; the first score of all is worth 1, a failure 0."""
    if not math.isfinite(score):
        return 0.0
    if not math.isfinite(base):
        return 1.0
    return max(base - score, 0.0) / max(abs(base), 1e-12)


def _brief(
    request: Request,
    prompt: Prompt,
    model: Arm,
    reserve: float,
    choice: Choice,
    rng: random.Random,
) -> Brief:
    named = [request.parent] if request.parent is not None else []
    if request.mode == "cross":
        named += request.others[:1]
    how = request.edit if request.mode == "change" else request.mode
    return Brief(
        operator=f"{WRITE}{how}",
        prompt=prompt,
        author=model.name,
        edit=request.edit,
        parents=tuple(each.program for each in named),
        reserve=reserve,
        place=choice.place,
        trial=choice.trial,
        max_tokens=model.max_tokens,
        seed=rng.getrandbits(31),
    )
