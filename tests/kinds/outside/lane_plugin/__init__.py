"""A kind of somebody else's: workers serve jobs that wait in a few lanes."""
