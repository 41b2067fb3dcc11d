"""Fuzzing: one harness per decoder and parser, run by atheris (``make fuzz``) and replayed by pytest.

A ``harness_NAME.py`` has ``TestOneInput(data)``, which raises where a property does not hold, ``seeds()``, what
the encoders make, and may have ``mutate(data, random)``, which knows the format.
"""
