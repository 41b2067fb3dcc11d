"""Prompts: what a writer is told, built from template files that a user may replace.

``statement`` says what the search is about, ``builder`` makes one prompt of it and of what is known of a
program, ``quoting`` makes what programs said harmless, ``templates`` reads the files.
"""
