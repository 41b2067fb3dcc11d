"""The simulator of the ``load_balancer`` kind."""
