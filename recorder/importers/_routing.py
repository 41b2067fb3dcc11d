"""Recorded routing of mixture-of-experts models becomes the workload of a hook of ``expert_placement``.

* ``esft``: ``.npz`` files with an array ``topk_ids`` [tokens, layers, k]: the experts that each token went
  to. Consecutive tokens make a window; what is left at a file's end is dropped, so that files (tasks) do
  not mix in a window. They follow each other in the order in which they are named: a task switch.
* ``eplb-json``: ``{"load_history": [{"logical_expert_load": [[...]]}, ...]}``, the load of each layer's
  experts in one step of vLLM; consecutive steps make a window.

Neither has times: a window takes a second. Outcomes are unknown, and so is the policy.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ...sdk.counts import pack_counts
from ...sdk.errors import ConfigurationError, TraceError
from ...sdk.records import Workload, WorkloadBatch
from ...sdk.spec import check_name
from ..archives import UNREADABLE
from ..rows import Joined, Source, tables
from ..store import TraceStore
from ._writing import refuse_existing

#: Name and version of the kind whose events are written; the recorder does not import the kinds.
_KIND = ("expert_placement", 1)
_MOST_EXPERTS, _MOST_LAYERS, _MOST_SLOTS, _MOST_DELAY = 512, 128, 640, 100
_MOST_LOAD = 10**12
_MOST_BYTES = 1 << 32
_WINDOW_NS = 10**9
_HOUR_NS = 3_600 * 10**9

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Deployment:
    """The deployment that the load is to be replayed for.

    Attributes:
        slots: of a layer, at least as many as experts.
        ranks: that share them.
        groups: of experts, which stay on nodes where ``nodes`` divides them.
        nodes: that hold the ranks.
        delay: windows between a decision and its use.
        window: tokens (``esft``) or steps (``eplb-json``) of a window.
    """

    slots: int
    ranks: int
    groups: int = 1
    nodes: int = 1
    delay: int = 0
    window: int = 512


@dataclass(frozen=True, slots=True)
class ImportedLoads:
    """What an import of loads came to.

    Attributes:
        hook: name of the hook.
        windows: how many.
        layers, experts: of the model.
        tokens: choices of an expert by a token, over all windows and layers.
        left_over: tokens or steps at the ends of files that fill no window.
    """

    hook: str
    windows: int
    layers: int
    experts: int
    tokens: int
    left_over: int


def import_loads(
    store: TraceStore, format: str, files: Sequence[Path], hook: str, deployment: Deployment
) -> ImportedLoads:
    """Write recorded routing into a store as the workload of a hook of the kind ``expert_placement``.

    Args:
        store: must not hold the hook yet.
        format: a name of :data:`ROUTING`.
        files: in the order in which they are to follow each other.
        hook: name that the trace is to have.
        deployment: what the load is to be replayed for.

    Raises:
        TraceError: a file is missing, or not of that format; or the hook exists.
        ConfigurationError: an unknown format, or a deployment that cannot be.
    """
    if format not in ROUTING:
        raise ConfigurationError(f"no format {format!r}; choose one of {', '.join(ROUTING)}")
    check_name(hook)
    refuse_existing(store, hook)
    if deployment.window < 1:
        raise ConfigurationError(f"a window of {deployment.window} is none; give window=1 or more")
    parts = [ROUTING[format](path, deployment.window) for path in files]
    experts = max((part.shape[2] for part, _ in parts), default=0)
    layers = {part.shape[1] for part, _ in parts}
    if len(layers) != 1:
        raise TraceError(
            f"the files have {', '.join(map(str, sorted(layers))) or 'no'} layers; "
            "import those of one model"
        )
    counts = np.concatenate([_widened(part, experts) for part, _ in parts])
    if not len(counts):
        raise TraceError(f"{files[0]} has no window of {deployment.window}; give a smaller window=")
    _check(deployment, experts)
    _write(store, hook, files[0].name, counts, deployment)
    left_over = sum(left for _, left in parts)
    windows, of_layers, _ = counts.shape
    return ImportedLoads(hook, windows, of_layers, experts, int(counts.sum()), left_over)


def _check(deployment: Deployment, experts: int) -> None:
    """Refuse a deployment that the kind would refuse as well when it reads the trace."""
    slots, ranks = deployment.slots, deployment.ranks
    groups, nodes = deployment.groups, deployment.nodes
    if min(slots, ranks, groups, nodes) < 1 or deployment.delay < 0:
        raise ConfigurationError(
            f"{deployment} has a number below its least; slots, ranks, groups and nodes are 1 or more"
        )
    most = max(slots, ranks, nodes) > _MOST_SLOTS or groups > _MOST_EXPERTS
    if most or deployment.delay > _MOST_DELAY:
        raise ConfigurationError(
            f"{deployment} has a number beyond its most; slots, ranks and nodes are at most "
            f"{_MOST_SLOTS}, groups {_MOST_EXPERTS} and delay {_MOST_DELAY}"
        )
    kept = groups % nodes == 0
    if slots < experts or slots % ranks or (kept and (ranks % nodes or experts % groups)):
        raise ConfigurationError(
            f"{slots} slots on {ranks} ranks of {nodes} nodes do not fit {experts} experts in {groups} "
            "groups; slots are at least the experts and a multiple of the ranks, ranks a multiple of "
            "the nodes, and experts of the groups"
        )


def _widened(part: IntArray, experts: int) -> IntArray:
    return np.pad(part, ((0, 0), (0, 0), (0, experts - part.shape[2])))


def _esft(path: Path, window: int) -> tuple[IntArray, int]:
    """Return counts [windows, layers, experts], and the tokens that are left."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(each.file_size for each in archive.infolist()) > _MOST_BYTES:
                raise TraceError(f"{path} unpacks to more than 4 GiB; import it in parts")
        with np.load(path, allow_pickle=False) as stored:
            ids = stored["topk_ids"]
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise TraceError(
            f"{path} is no .npz file with topk_ids ({reason}); name another"
        ) from error
    fits = ids.ndim == 3 and 1 <= ids.shape[1] <= _MOST_LAYERS and ids.shape[2] > 0
    if not fits or ids.dtype.kind not in "iu":
        raise TraceError(
            f"{path} has topk_ids of {ids.dtype} {ids.shape}; give whole numbers [tokens, layers, k] "
            f"with 1 to {_MOST_LAYERS} layers"
        )
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < _MOST_EXPERTS:
        raise TraceError(
            f"{path} has an expert {ids.max() if ids.max() >= _MOST_EXPERTS else ids.min()}; "
            f"there may be 0 to {_MOST_EXPERTS - 1}"
        )
    return _windows(ids, window), len(ids) % window


def _windows(ids: npt.NDArray[Any], window: int) -> IntArray:
    layers = ids.shape[1]
    experts = int(ids.max(initial=0)) + 1
    offset = np.arange(layers)[:, None] * experts
    counted = [
        np.bincount(
            (ids[low : low + window].astype(np.int64) + offset).ravel(), minlength=layers * experts
        )
        for low in range(0, len(ids) - window + 1, window)
    ]
    return np.array(counted, np.int64).reshape(len(counted), layers, experts)


def _eplb_json(path: Path, window: int) -> tuple[IntArray, int]:
    """Return counts [windows, layers, experts], and the steps that are left."""
    try:
        steps = json.loads(path.read_bytes())["load_history"]
        loads = np.array([step["logical_expert_load"] for step in steps])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise TraceError(
            f"{path} is no JSON with load_history and logical_expert_load ({error}); name another"
        ) from error
    fits = loads.ndim == 3 and 1 <= loads.shape[1] <= _MOST_LAYERS
    if not fits or loads.dtype.kind not in "iu" or not 1 <= loads.shape[2] <= _MOST_EXPERTS:
        raise TraceError(
            f"{path} has loads of {loads.dtype} {loads.shape}; give whole numbers [steps, layers, experts] "
            f"with at most {_MOST_LAYERS} layers and {_MOST_EXPERTS} experts"
        )
    if loads.size and int(loads.min()) < 0:
        raise TraceError(f"{path} has a load of {int(loads.min())}; loads are 0 or more")
    most = float(loads.max(initial=0))
    whole = len(loads) // window
    summed = loads[: whole * window].reshape(whole, window, *loads.shape[1:]).sum(axis=1)
    if most <= _MOST_LOAD:  # else the sum may have wrapped
        most = float(summed.max(initial=0))
    if most > _MOST_LOAD:
        raise TraceError(
            f"{path} has a load of {most:g} in a window; loads are at most {_MOST_LOAD:g}, so give a "
            "smaller window="
        )
    return summed.astype(np.int64), len(loads) - whole * window


#: Readers by the name of their format: (file, window) to counts and what was left over.
ROUTING: Mapping[str, Callable[[Path, int], tuple[IntArray, int]]] = MappingProxyType(
    {"esft": _esft, "eplb-json": _eplb_json}
)


def _write(
    store: TraceStore, hook: str, name: str, counts: IntArray, deployment: Deployment
) -> None:
    process = hashlib.blake2b(f"{hook}\n{name}".encode(), digest_size=8).hexdigest()
    source = Source(process, name, hook, *_KIND)
    written: list[str] = []
    try:
        for _, group in groupby(
            _events(counts, deployment), lambda event: event.time_ns // _HOUR_NS
        ):
            records: list[Workload | WorkloadBatch] = [*group]
            content = tables(source, Joined(workload=records))
            written += store.write(content, f"import-{process}-{records[0].seq:016d}")
    except BaseException:  # an interruption too: half a trace would be taken for a whole one
        for path in written:
            store.files.remove(path)
        raise


def _events(counts: IntArray, deployment: Deployment) -> Iterator[Workload]:
    numbers = {
        "replicas": deployment.slots,
        "groups": deployment.groups,
        "nodes": deployment.nodes,
        "ranks": deployment.ranks,
        "delay": deployment.delay,
    }
    settings = tuple((name, float(value)) for name, value in numbers.items())
    yield Workload(0, 0, "deployment", (*settings, ("policy", ""), ("placement", "")))
    _, layers, experts = counts.shape
    for index, window in enumerate(counts):
        values = (
            ("layers", float(layers)), ("experts", float(experts)), ("counts", pack_counts(window)),
        )  # fmt: skip
        yield Workload(index + 1, (index + 1) * _WINDOW_NS, "load", values)
