"""The simulator of the ``llm_scheduler`` kind."""
