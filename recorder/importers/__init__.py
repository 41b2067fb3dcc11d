"""Importers: public traces become the workload of a hook.

``mooncake`` (requests to a language model, for the kind ``llm_router``) is described in its module;
the rest of this page is about caches: their accesses become the workload of a hook of the kind ``cache``.

What such a file holds are requests; whether they hit is unknown. Every request is therefore stored as
an ``access`` with op 0 (a lookup that missed), below a ``cache`` event whose ``policy`` is empty, which
says exactly that: outcomes unknown, every miss brings its object. ``sampled`` is 1.

Files are read in order and in batches; memory is bounded, but for the set of keys that a capacity
given as a share of the working set needs. How they are read:

* ``oracleGeneral`` (libCacheSim): 24-byte little-endian records of time in s, object id, size in bytes
  and the index of the next access.
* ``arc`` (the traces of the ARC paper, ``.lis``): lines ``start nblocks 0 sequence``, each of which
  stands for the blocks ``start`` to ``start + nblocks - 1`` of size 1. No times.
* ``ids`` (caffeine's cache2k traces): big-endian 32-bit object ids of size 1. No times.
* ``csv``: a header, then a column of keys and, where they are named, columns of times in s and sizes.

``.gz``, ``.zst`` and ``.xz`` are decompressed as they are read. Where a file has no times there is 1 ms
between two accesses. Times never go back: one that does takes the latest before it (their number is
reported), and accesses of the same time are 1 ns apart, so that their order survives. A size below 1
counts as 1, and so does one that is missing (reported too). A number from 0 to 2^53 is its own key;
all other keys, texts included, are hashed to 53 bits.

Recorded routing of mixture-of-experts models becomes that of a hook of the kind ``expert_placement``;
its formats are with :mod:`~gnomon.recorder.importers._routing`.
Requests to LLM servers become the workload of a hook of the kind ``llm_scheduler``; their formats are with
:mod:`~gnomon.recorder.importers._requests`.
Access logs of Envoy become decisions of a hook of the kind ``load_balancer``; see
:mod:`~gnomon.recorder.importers._envoy`.
Logs of batch systems, ``swf``, become that of a hook of the kind ``scheduler``: see
:mod:`~gnomon.recorder.importers._swf`.
"""

from __future__ import annotations

from ._envoy import LogImported, import_envoy
from ._formats import FORMATS, Columns
from ._mooncake import REPLICAS, RequestsImported, import_mooncake
from ._requests import REQUESTS, ImportedRequests, RequestImport, import_requests
from ._routing import ROUTING, Deployment, ImportedLoads, import_loads
from ._swf import SWF, ImportedJobs, JobRequest, import_jobs
from ._writing import Imported, Request, import_trace

__all__ = [
    "FORMATS",
    "REPLICAS",
    "REQUESTS",
    "ROUTING",
    "SWF",
    "Columns",
    "Deployment",
    "Imported",
    "ImportedJobs",
    "ImportedLoads",
    "ImportedRequests",
    "JobRequest",
    "LogImported",
    "Request",
    "RequestImport",
    "RequestsImported",
    "import_envoy",
    "import_jobs",
    "import_loads",
    "import_mooncake",
    "import_requests",
    "import_trace",
]
