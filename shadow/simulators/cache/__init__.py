"""The simulator of the ``cache`` kind."""
