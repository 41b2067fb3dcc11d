"""Evaluations in flight: what is believed of them, when they may stop, what is remembered, and any executor."""
