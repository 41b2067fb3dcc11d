"""What a policy may do in a service, and what may be sent to one."""

from __future__ import annotations

from .attack import Attack, named

#: In place of a program: expressions of a function from rows to an index.
ANSWER: tuple[Attack, ...] = (
    *named(
        "answer",
        "a wrong item, an exception in the service",
        "guard",
        {
            "minus one": "lambda rows: -1",
            "an item beyond the end": "lambda rows: len(rows)",
            "an item far beyond the end": "lambda rows: 10 ** 30",
            "an item from the end": "lambda rows: -2",
            "a float": "lambda rows: 0.0",
            "no number at all": "lambda rows: math.nan",
            "a truth": "lambda rows: True",
            "nothing at all": "lambda rows: None",
            "a text for an item": "lambda rows: '0'",
            "an object that claims to be an index": "lambda rows: type('I', (), {'__index__': int})()",
            "an int of its own class": "lambda rows: type('I', (int,), {})(1)",
            "an exception": "lambda rows: 1 // 0",
            "an exception without end": "lambda rows: (_ for _ in ()).throw(RecursionError())",
            "no memory": "lambda rows: (_ for _ in ()).throw(MemoryError())",
            "the end of an iteration": "lambda rows: next(iter(()))",
            "the rows emptied": "lambda rows: rows.clear() or 0",
        },
        ["breaker"],
    ),
    *named(
        "answer",
        "an item that an invariant forbids",
        "guard",
        {"a loaded item": "lambda rows: 2"},
        ["breaker"],
        "orderly",
    ),
    *named(
        "answer",
        "the caller's time",
        "breaker",
        {
            "slow answers": "lambda rows: clock.advance(0.003) or 1",
            "faults now and then": "lambda rows: -1 if next(calls) % 3 else 1",
        },
    ),
)

#: Expressions that a service takes part in; every one of them has to end in a refusal.
_BUNDLES = {
    "signature": {
        "a bundle that a stranger signed": "open(signed(payload, world.stranger))",
        "a bundle that the rollout key signed": "open(signed(payload, world.rollout))",
        "a bundle that nobody signed": "open(P.Envelope(payload_type=BUNDLE, payload=payload))",
        "a bundle with one bit changed": "open(flipped(signed(payload)))",
        "a manifest in place of a bundle": "open(world.manifest(1))",
        "a plan in place of a bundle": "open(world.plan())",
        "a bundle in place of a manifest": "admit(signed(payload))",
        "a manifest that a stranger signed": "admit(world.manifest(1, world.stranger))",
        "a manifest that its publisher signed": "admit(world.manifest(1, world.publisher))",
        "a manifest with one bit changed": "admit(flipped(world.manifest(1)))",
        "a plan that the rollout key signed": "admit(world.manifest(1, plan=world.plan(world.rollout)))",
        "a plan whose rollout key is a stranger's": (
            "admit(world.manifest(1, world.stranger, plan=world.plan(rollout_public_key=b'x' * 32)))"
        ),
        "a raise without a plan": "admit(world.manifest(1, plan=None))",
        "a kill that a stranger signed": "admit(world.stable(1, signer=world.stranger, kill=True))",
        "a bundle of noise": "open(signed(b'\\xff' * 99))",
    },
    "contract": {
        "a bundle for another hook": "open(signed(payload, hook='cache.evict'))",
        "a bundle for another kind": "open(signed(payload, kind='cache'))",
        "a bundle for an older kind": "open(signed(payload, kind_version=2))",
        "a bundle of the other form": "open(signed(payload, form='program'))",
        "a bundle with its inputs exchanged": (
            "open(signed(payload, inputs=['ewma_ms', 'inflight', 'since_picked', 'noise']))"
        ),
        "a manifest for another hook": "admit(world.manifest(1, hook='cache.evict'))",
        "a plan for another hook": "admit(world.manifest(1, plan=world.plan(hook='cache.evict')))",
    },
    "language": {
        "a signed bundle with a source that imports": (
            "open(signed(payload, source='import os\\ndef score(inflight):\\n    return 1.0\\n'))"
        ),
        "a signed bundle with no source": "open(signed(payload, source=''))",
        "a signed bundle too large for its kind": "open(signed(payload, source=SOURCE + '#' * 20000))",
    },
    "golden": {
        "another source than was verified": "open(signed(payload, source=SOURCE.replace('+ 1', '+ 2')))",
        "golden answers changed": "open(signed(payload, vector_outputs=[0.0] * 256))",
        "no golden vectors": "open(signed(payload, vector_inputs=[], vector_outputs=[]))",
        "too few golden vectors": "open(signed(payload, vector_inputs=[1.0] * 4, vector_outputs=[1.0]))",
        "golden vectors of another width": "open(signed(payload, vector_inputs=[1.0]))",
    },
    "epoch": {
        "an older manifest again": "admit(world.manifest(2)); admit(world.manifest(1))",
        "an older manifest after a restart": (
            "admit(world.manifest(2)); restart(); admit(world.manifest(1))"
        ),
        "the same epoch with another weight": (
            "admit(world.manifest(1)); admit(world.manifest(1, weight=0.5))"
        ),
        "an epoch of nothing": "admit(world.manifest(0))",
        "an epoch below the least": "pin(min_epoch=5); admit(world.manifest(4))",
        "an old kill again": (
            "old = world.stable(2, kill=True); admit(old); admit(world.manifest(3)); admit(old)"
        ),
    },
    "plan": {
        "a weight beyond the plan": (
            "admit(world.manifest(1, weight=0.5, plan=world.plan(weights=[0.25])))"
        ),
        "a weight that is no number": "admit(world.manifest(1, weight=math.nan))",
        "a weight below nothing": "admit(world.manifest(1, weight=-0.1))",
        "another candidate than the plan's": "admit(world.manifest(1, candidate='c' * 64))",
        "another stable than the plan's": "admit(world.manifest(1, stable='c' * 64))",
        "an expired plan": "admit(world.manifest(1, plan=world.plan(not_after_unix_ns=1)))",
        "a lease beyond the plan's": "admit(world.manifest(1, lease_ns=11 * 10 ** 9))",
        "a phase that there is not": "admit(world.manifest(1, phase=9))",
        "a canary without salt": "admit(world.manifest(1, salt=b''))",
        "full traffic that the plan never gives": (
            "admit(world.manifest(1, phase=P.PHASE_FULL, weight=1.0, plan=world.plan(weights=[0.25])))"
        ),
        "stable at once": (
            "admit(world.stable(1, stable='b' * 64, plan=world.plan(weights=[0.25])))"
        ),
    },
    "freshness": {
        "a manifest of last week": (
            "late = world.manifest(1, plan=world.plan(not_after_unix_ns=4 * 10**18)); "
            "world.later(604800); admit(late)"
        ),
        "a manifest of next week": "admit(world.manifest(1, issued_unix_ns=world.now.unix_ns + 10 ** 15))",
        "a manifest without a lease": "admit(world.manifest(1, lease_ns=0))",
    },
}

DELIVERY: tuple[Attack, ...] = tuple(
    Attack(name, "delivery", "a policy that nobody approved", source, layer)
    for layer, attacks in _BUNDLES.items()
    for name, source in attacks.items()
)
