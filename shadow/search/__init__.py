"""Search for policies: ``ask`` and ``tell`` over an archive, strategies, and proposers without a key.

Named as in the papers: :mod:`.proposers` generate solutions, an :class:`~..evaluation.Engine` evaluates
them, :mod:`.archive` stores them and selects among them, :mod:`.strategies` say whose turn it is,
:mod:`.core` keeps the protocol and :mod:`.driver` runs the loop.
"""
