"""The control plane: plans, the state machine, the statistics of a canary, and the ledger."""
