"""What a hook decides: the kinds, their published baselines and, below, rollouts."""
