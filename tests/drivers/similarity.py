"""Compute the exact similarity of two texts, as a reference for the index's estimates."""

from __future__ import annotations


def shingles(text: str) -> set[tuple[str, ...]]:
    """Return all runs of three words of a text of plain words."""
    words = text.split()
    return {tuple(words[start : start + 3]) for start in range(max(1, len(words) - 2))}


def similarity(one: str, other: str) -> float:
    """Return the Jaccard similarity of two texts of plain words, computed by its definition."""
    first, second = shingles(one), shingles(other)
    return len(first & second) / len(first | second)
