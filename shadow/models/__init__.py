"""Language models that write programs: an ensemble behind one seam, in a process of its own."""
