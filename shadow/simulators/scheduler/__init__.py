"""The simulator of the ``scheduler`` kind."""
