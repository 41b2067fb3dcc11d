"""The commands of ``gnomon``, one module each; every one is thin over a Python call."""
