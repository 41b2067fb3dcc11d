"""Looks for the lowest point of a landscape by small steps."""

import math
import random


# EVOLVE-BLOCK-START
def search(height, steps=60, low=-5.0, high=5.0):
    """Return the lowest point that a random walk passes."""
    draw = random.Random(1)
    x, y = draw.uniform(low, high), draw.uniform(low, high)
    best = (height(x, y), x, y)
    reach = 1.5
    for _ in range(steps):
        near = (x + draw.gauss(0.0, reach), y + draw.gauss(0.0, reach))
        found = height(*near)
        if found < best[0] + 0.1:
            x, y = near
        best = min(best, (found, *near))
        reach = reach * 0.97  # colder
    return best[1], best[2]


# EVOLVE-BLOCK-END


def landscape(x, y):
    return math.sin(3 * x) * math.cos(2 * y) + 0.1 * (x * x + y * y) - 0.2 * x * y


def run():
    return search(landscape)
