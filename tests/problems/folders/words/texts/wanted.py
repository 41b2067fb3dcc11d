"""Texts with the counts of their words."""

TEXTS = [
    ("a cat, a dog; a cat", {"cat": 2, "dog": 1, "a": 3}),
    ("the policies and the policy!", {"the": 2, "policy": 2, "and": 1}),
    ("to be or not to be?", {"to": 2, "be": 2, "or": 1, "not": 1}),
]
