"""Guards of what is shipped: envelopes, bundles, manifests, kept state."""

from __future__ import annotations

from .rows import SENT, within

DELIVERY = (
    *within(
        "sdk/dsse.py",
        SENT,
        (
            "an envelope is of its type",
            "    if envelope.payload_type != payload_type:",
            "    if False:",
            "tests/delivery/test_dsse.py",
        ),
        (
            "a signer is trusted",
            "    trusted = {_keys.keyid(key): key for key in keys}\n    known = [found for found in envelope.signatures if found.keyid in trusted]",
            "    return\n    trusted = {_keys.keyid(key): key for key in keys}\n    known = [found for found in envelope.signatures if found.keyid in trusted]",
            "a bundle that a stranger signed",
        ),
        (
            "a payload is not too large",
            "    if len(envelope.payload) > MAX_PAYLOAD:",
            "    if False:",
            "tests/delivery/test_dsse.py",
        ),
    ),
    *within(
        "sdk/bundle.py",
        SENT,
        (
            "a bundle is for this hook",
            '    _same("hook", bundle.hook, hook)',
            "    pass",
            "a bundle for another hook",
        ),
        (
            "a bundle is for this kind and version",
            '    _same("kind", f"{bundle.kind} v{bundle.kind_version}", f"{kind.name} v{kind.version}")',
            "    pass",
            "a bundle for an older kind",
        ),
        (
            "a bundle's inputs are the kind's",
            '    _same("inputs", ", ".join(bundle.inputs), ", ".join(_inputs(kind)))',
            "    pass",
            "a bundle with its inputs exchanged",
        ),
        (
            "enough golden vectors",
            "    if rows < VECTORS:",
            "    if False:",
            "no golden vectors",
        ),
        (
            "golden vectors give the same here",
            "    mismatch = replay_vectors(program, _rows(bundle), list(bundle.vector_outputs))",
            '    mismatch = ""',
            "another source than was verified",
        ),
        (
            "golden cases give the same here",
            "    mismatch = golden_mismatch(bundle.source, kind, seed, numbers, isolation)",
            '    mismatch = ""',
            "tests/programs/test_program_bundle.py",
        ),
    ),
    *within(
        "sdk/manifest.py",
        SENT,
        (
            "epochs only rise",
            "        if manifest.epoch < max(self.epoch, 1):",
            "        if False:",
            "an older manifest again",
        ),
        (
            "the least epoch",
            "        if manifest.epoch < self._anchors.min_epoch:\n            raise",
            "        if False:\n            raise",
            "an epoch below the least",
        ),
        (
            "an epoch has one content",
            "        if _timeless(manifest) != _timeless(current.manifest):",
            "        if False:",
            "the same epoch with another weight",
        ),
        (
            "a manifest is for this hook",
            "        if manifest.hook != self._hook:",
            "        if False:",
            "a manifest for another hook",
        ),
        (
            "a publisher signed the plan",
            "        return read_plan(manifest.plan, self._anchors.publishers, self._hook)\n        except TrustError:\n            if manifest.kill:",
            "        return read_plan(manifest.plan, (*self._anchors.publishers, keys.from_raw(policy_pb2.RampPlan.FromString(manifest.plan.payload).rollout_public_key)), self._hook)\n        except TrustError:\n            if manifest.kill:",
            "a plan that the rollout key signed",
        ),
        (
            "manifests are fresh",
            "    if late > skew_ns:",
            "    if False:",
            "a manifest of last week",
        ),
        (
            "manifests are not of the future",
            "    if early > skew_ns:",
            "    if False:",
            "a manifest of next week",
        ),
        (
            "manifests have a lease",
            "    if manifest.lease_ns <= 0:",
            "    if False:",
            "a manifest without a lease",
        ),
        (
            "the lease is the plan's",
            "    if manifest.lease_ns > plan.lease_ns:",
            "    if False:",
            "a lease beyond the plan's",
        ),
        (
            "the plan has not ended",
            "    if plan is None or now.unix_ns > plan.not_after_unix_ns:",
            "    if plan is None:",
            "an expired plan",
        ),
        (
            "the candidate is the plan's",
            "    if (manifest.stable, manifest.candidate) != (plan.stable, plan.candidate):",
            "    if False:",
            "another candidate than the plan's",
        ),
        (
            "the weight is the plan's",
            "    if not math.isfinite(weight) or not 0.0 <= weight <= limit:",
            "    if False:",
            "a weight beyond the plan",
        ),
        (
            "stable is the plan's",
            "    if manifest.stable not in allowed:",
            "    if False:",
            "stable at once",
        ),
        (
            "full only where the plan goes there",
            "    if full and largest <= _FULL_WEIGHT:",
            "    if False:",
            "full traffic that the plan never gives",
        ),
        (
            "the plan's key is the one that it names",
            "    if keys.keyid(key) != plan.rollout_keyid:",
            "    if False:",
            "tests/delivery/test_manifest.py",
        ),
        (
            "publisher and rollout have keys of their own",
            "        keys.check_separate(key, publishers)",
            "        pass",
            "tests/delivery/test_manifest.py",
        ),
    ),
    *within(
        "sdk/state.py",
        "{}",
        (
            "damaged state is absent",
            "    if heading != _HEADING + hashlib.sha256(body).hexdigest().encode():",
            "    if False:",
            "tests/delivery/test_state.py",
        ),
        (
            "the highest epoch stays",
            "                if self.load(hook).epoch <= saved.epoch:",
            "                if True:",
            "tests/delivery/test_state.py",
        ),
    ),
)
