"""Worlds to hold the gates to: systems whose true effects are known, written apart from the simulators."""
