"""Invariants against a trace: which of them its decisions keep, and which ones it suggests.

decisions.py    what was decided on what was seen: recorded, or replayed under a policy
checking.py     every invariant on every decision
limits.py       exact limits of shares, and how far beyond the largest value seen the largest of all may lie
picks.py        rules that picks among items keep
answers.py      rules that answers of programs keep
mining.py       from such rules to suggestions: tested on later decisions, ranked, what is implied left out
"""
