"""The options of a ramp plan, checked before anybody is asked, and named by what was typed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..sdk.errors import ConfigurationError
from . import _complete, _rollout

if TYPE_CHECKING:
    from ..policies.rollout.shipping import Ramp

_MOST_S = 1e9
_MOST_COUNT = (1 << 31) - 1
_POSITIVE = ("--block", "--lease", "--valid", "--drift-window")


RolloutKey = Annotated[
    Path | None,
    typer.Option(help="Public key of the control plane; else rollout.pub beside --key."),
]
MaxLooks = Annotated[int, typer.Option(help="Sticky arms: looks until undecided is HOLD.")]
ShadowRate = Annotated[
    float | None,
    typer.Option(help="Share that live shadow computes; 0.1, with paired arms 0.05."),
]
Expires = Annotated[
    str, typer.Option(help="A promotion must be verified again after so long; 0s: never.")
]
Drift = Annotated[
    float, typer.Option(help="Index of a feature that says its workload moved; 0: not watched.")
]
Then = Annotated[
    str,
    typer.Option(
        help="Otherwise: back to the incumbent, or keep.",
        autocompletion=_complete.words("incumbent", "keep"),
    ),
]
Override = Annotated[
    str, typer.Option(help="Reason to ship what was not accepted; it stays in the bundle.")
]
BundleOut = Annotated[Path | None, typer.Option(help="File that also receives the signed bundle.")]

_TIMES = (
    *("block", "burn_in", "skew", "soak", "lease", "valid"),
    *("expires", "grace", "drift_window"),
)
_COUNTS = (
    *("min_pairs", "max_pairs", "slices", "max_looks"),
    *("shadow_decisions", "drift_windows"),
)


@dataclass(frozen=True)
class Given:
    """What the command line says of a ramp; durations, shares and words as typed."""

    weights: str
    block: str
    burn_in: str
    skew: str
    soak: str
    lease: str
    valid: str
    min_pairs: int
    max_pairs: int
    slices: int
    max_looks: int
    shadow_decisions: int
    shadow_rate: float | None
    alpha: float
    expires: str
    drift: float
    drift_window: str
    drift_windows: int
    grace: str
    then: str

    def ramp(self) -> Ramp:
        """Return the ramp that is asked for.

        Raises:
            ConfigurationError: no plan can say this; names the option and the remedy.
        """
        from ..policies.rollout.shipping import Ramp

        shares = _rollout.read_weights(self.weights)
        texts: dict[str, str] = {_option(name): getattr(self, name) for name in _TIMES}
        lasting = {option: _seconds(option, text) for option, text in texts.items()}
        counts: dict[str, int] = {name: getattr(self, name) for name in _COUNTS}
        problems = [*_times(texts, lasting), *_counts({_option(n): c for n, c in counts.items()})]
        problems += [*_shares(self.alpha, self.shadow_rate), *_after(self.drift, self.then)]
        for problem in [*_weights(self.weights, shares), *problems]:
            raise ConfigurationError(problem)
        return Ramp(
            weights=shares,
            alpha_promote=self.alpha,
            alpha_abort=self.alpha,
            shadow_rate=self.shadow_rate,
            drift=self.drift,
            then="keep" if self.then == "keep" else "incumbent",
            **{f"{name}_s": lasting[_option(name)] for name in _TIMES},  # type: ignore[arg-type]
            **counts,
        )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _seconds(option: str, text: str) -> float:
    try:
        return _rollout.seconds(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{option} {error}") from error


def _weights(text: str, shares: tuple[float, ...]) -> Iterator[str]:
    ramp = shares[:-1]
    ascending = list(ramp) == sorted(set(ramp)) and all(0.0 < share <= 0.5 for share in ramp)
    if not ramp or shares[-1] != 1.0 or not ascending:
        yield (
            f"--weights {text} must ascend, each above 0 and at most 0.5 before the last, "
            "which is 1; write 0.1,0.5,1.0"
        )


def _times(texts: Mapping[str, str], lasting: Mapping[str, float]) -> Iterator[str]:
    for option, value in lasting.items():
        if value > _MOST_S or (option in _POSITIVE and round(value * 1e9) == 0):
            least = "above 0" if option in _POSITIVE else "0 or more"
            yield f"{option} {texts[option]} must be {least} and at most {_MOST_S:g} seconds"
    if lasting["--burn-in"] + lasting["--skew"] >= lasting["--block"]:
        yield (
            f"--burn-in {texts['--burn-in']} and --skew {texts['--skew']} leave nothing of "
            f"--block {texts['--block']}; make the block longer"
        )


def _counts(counts: Mapping[str, int]) -> Iterator[str]:
    for option, count in counts.items():
        least = 0 if option == "--shadow-decisions" else 1
        if not least <= count <= _MOST_COUNT:
            yield f"{option} {count} must be a number from {least} to {_MOST_COUNT}"
    least, most = counts["--min-pairs"], counts["--max-pairs"]
    if least > most:
        yield f"--min-pairs {least} is more than --max-pairs {most}; raise --max-pairs"


def _shares(alpha: float, shadow_rate: float | None) -> Iterator[str]:
    if not 0.0 < alpha <= 0.5:
        yield f"--alpha {alpha:g} must be above 0 and at most 0.5"
    if shadow_rate is not None and not 0.0 <= shadow_rate <= 1.0:
        yield f"--shadow-rate {shadow_rate:g} must lie between 0 and 1"


def _after(drift: float, then: str) -> Iterator[str]:
    if not 0.0 <= drift < math.inf:
        yield f"--drift {drift:g} must be finite and 0 or more; 0 does not watch"
    if then not in ("keep", "incumbent"):
        yield f"--then {then} must be keep or incumbent"
