"""The simulator of the ``expert_placement`` kind."""
