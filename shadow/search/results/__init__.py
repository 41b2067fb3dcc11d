"""What a search found: finalists, gains with their limits, diagnosis, accounts, comparisons, exports."""
