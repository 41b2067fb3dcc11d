"""Comparing any number of policies on any number of traces."""
