"""A cache of a service whose eviction and admission are a hook: ``gnomon.PolicyCache``.

Three layers. *Cells* hold objects (or, as ghosts, keys only) under one policy: :mod:`.ordered` what a
cache has without Gnomon, :mod:`.scored` what a program decides. *Contents* (:mod:`.contents`) route
keys to cells, and move objects between them one by one when the routing changes, so that no change
makes a caller wait. The *mapping* (:mod:`.mapping`) is what the service sees; the *hook*
(:mod:`.hook`) is what runtime and delivery see of it, and shares only flags and a ring with it.
"""
