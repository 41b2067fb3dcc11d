"""Traces: what a hook recorded, as columns, and how they come from a store, a file or a spool."""
