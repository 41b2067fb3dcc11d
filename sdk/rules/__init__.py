"""Invariants as data: a closed set of shapes, the file they are suggested in, and what a person confirmed.

A rule says what must hold of a decision in numbers and names only, so a file of rules runs no code of
its own. ``score.py`` has the shapes for picks among items, ``program.py`` those for answers of programs,
``parse.py`` reads one, and ``file.py`` keeps them with who confirmed which.
"""
