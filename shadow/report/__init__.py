"""Reports that stand alone."""
