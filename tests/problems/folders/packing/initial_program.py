"""Puts things into bins."""

# EVOLVE-BLOCK-START
WEIGHT_OF_FIT = 1.0
WEIGHT_OF_ORDER = 0.5
LEAST_ROOM = 0
MOST_BINS = 1000


def priority(item, room):
    """Return how much an item is wanted in a bin; the highest bin takes it."""
    return WEIGHT_OF_FIT * (room - item) + WEIGHT_OF_ORDER * item


# EVOLVE-BLOCK-END


def pack(items, size):
    bins = []
    for item in items:
        open_bins = [i for i, room in enumerate(bins) if room - item >= LEAST_ROOM]
        if not open_bins:
            bins.append(size)
            open_bins = [len(bins) - 1]
        if len(bins) > MOST_BINS:
            raise RuntimeError("too many bins")
        chosen = max(open_bins, key=lambda i: priority(item, bins[i]))
        bins[chosen] -= item
    return bins
