"""Where a candidate earns trust: simulators, replay, search, gates, isolation; nothing of it runs in a service."""
