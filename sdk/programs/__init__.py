"""Policies in program form inside a service: whole questions, answered in a process of their own.

* :mod:`.hook` is the hook of a function that answers such questions, :mod:`.reading` how a call of it is
  read and its answer given back;
* :mod:`.guard` asks a program within the kind's limits, :mod:`.nursery` keeps the clean processes that
  programs are forked from;
* :mod:`.group` lets several processes decide as one.
"""
