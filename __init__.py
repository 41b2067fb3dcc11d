"""Gnomon: tune a production policy from its own traffic."""

from __future__ import annotations

__version__ = "0.1.0"
