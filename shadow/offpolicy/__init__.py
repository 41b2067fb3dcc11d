"""What recorded decisions alone say of another policy, without a simulator."""
