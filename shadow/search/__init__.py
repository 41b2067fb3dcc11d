"""Search for policies: ``ask`` and ``tell`` over an archive, strategies, and whoever writes programs.

Named as in the papers: :mod:`.proposers` generate solutions, an :class:`~..evaluation.Engine` evaluates
them, :mod:`.archive` stores them and selects among them, :mod:`.strategies` say whose turn it is,
:mod:`.core` keeps the protocol and :mod:`.driver` runs the loop. Where a change goes:

- what is proposed: :mod:`.strategies` choose, :mod:`.keyless` makes without a model, :mod:`.authors` asks others;
- what is believed of an evaluation, and when it may stop: :mod:`.evaluating`;
- what is kept: :mod:`.records`, as lines (:mod:`.lines`) of the chained log (:mod:`.log`);
- what is said of a run, while it goes on and afterwards: :mod:`.progress`, :mod:`.results`;
- how a trace becomes a search: :mod:`.wiring`.
"""
