"""The simulator of the ``llm_router`` kind."""
