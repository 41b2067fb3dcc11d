"""The gates that make an accepted policy a real win, and the verdict they leave."""
