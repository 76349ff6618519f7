"""Characters of a text as a reader counts them."""

from __future__ import annotations

import unicodedata
from functools import lru_cache


@lru_cache(maxsize=65536)
def graphemes(text: str) -> tuple[str, ...]:
    """Splits NFC text into characters as a reader counts them: a base with its combining marks."""
    clusters: list[str] = []
    for point in unicodedata.normalize("NFC", text):
        if clusters and unicodedata.category(point) in ("Mn", "Mc", "Me"):
            clusters[-1] += point
        else:
            clusters.append(point)
    return tuple(clusters)
