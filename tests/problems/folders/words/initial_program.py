"""Cuts texts into words, with two blocks to change."""


class Cutter:
    """Cuts a text."""

    # EVOLVE-BLOCK-START
    least = 2
    marks = ".,;"

    def cut(self, text):
        """Return the words of a text."""
        for mark in self.marks:
            text = text.replace(mark, " ")
        return [word for word in text.split(" ") if len(word) >= self.least]

    # EVOLVE-BLOCK-END

    def count(self, text):
        """Return how often each word comes."""
        found = {}
        for word in self.cut(text):
            name = self.name(word)
            found[name] = found.get(name, 0) + 1
        return found

    # EVOLVE-BLOCK-START
    def name(self, word):
        """Return what a word is counted as."""
        return word[:6]

    # EVOLVE-BLOCK-END
