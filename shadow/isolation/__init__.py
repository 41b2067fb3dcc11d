"""Candidates in shadow: what runs inside the locked-in processes of :mod:`gnomon.sdk.isolation`.

* :mod:`.lockstep` steps a candidate and the host's simulators together;
* :mod:`.compiled` ranks candidates with compiled scores in disposable forks.
"""
