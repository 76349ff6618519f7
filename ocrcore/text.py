"""Text normalization, and characters as a reader counts them."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_SHAPED = (
    *("DEVANAGARI", "BENGALI", "GURMUKHI", "GUJARATI", "ORIYA", "TAMIL", "TELUGU", "KANNADA"),
    *("MALAYALAM", "SINHALA", "TIBETAN", "MYANMAR", "KHMER", "MONGOLIAN", "BALINESE", "JAVANESE"),
)
_NOT_ALNUM = re.compile("[^0-9a-z]")


def fold(text: str) -> str:
    """Convert to lower case, then keeps only 0-9 and a-z."""
    return _NOT_ALNUM.sub("", unicodedata.normalize("NFC", text).lower())


@lru_cache(maxsize=65536)
def graphemes(text: str) -> tuple[str, ...]:
    """Split NFC text into characters as a reader counts them: a base with its combining marks."""
    clusters: list[str] = []
    for point in unicodedata.normalize("NFC", text):
        if clusters and unicodedata.category(point) in ("Mn", "Mc", "Me"):
            clusters[-1] += point
        else:
            clusters.append(point)
    return tuple(clusters)


def needs_shaping(character: str) -> bool:
    """Return whether a script is written right to left, or its letters join.

    For these, drawing one glyph per grapheme in text order would be wrong: Arabic, Hebrew, Syriac
    and others are detected by their bidirectional class (Unicode 16, section 23.2), the Indic
    scripts and their relatives by name.
    """
    if character.isascii():
        return False
    if unicodedata.bidirectional(character) in ("R", "AL", "AN"):
        return True
    return unicodedata.name(character, "").startswith(_SHAPED)


def visible_graphemes(text: str) -> list[str]:
    """Split text into characters as a reader counts them, without those that leave no ink.

    White space and zero-width characters (control and format characters) are left out.
    """
    return [cluster for cluster in graphemes(text) if has_ink(cluster)]


def has_ink(cluster: str) -> bool:
    """Return whether a grapheme is more than white space, control and format characters."""
    return not all(c.isspace() or unicodedata.category(c) in ("Cc", "Cf") for c in cluster)
