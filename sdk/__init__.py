"""What runs inside a service: hooks, arms, guard, policy language, delivery and telemetry."""
