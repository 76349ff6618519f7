"""Widths of characters, measured on the bundled fonts: an "i" is narrower than an "m".

Printed by `python benchmarks/lab/character_widths.py`.
"""

from __future__ import annotations

import unicodedata

# Groups of characters of similar width; width relative to the mean of letters and digits; standard
# deviation of its logarithm.
_WIDTHS = (
    ("',", 0.42, 0.37),
    (" !.:;ij|", 0.50, 0.32),
    ("()I]`l", 0.61, 0.30),
    ('"-/1[frt{}', 0.70, 0.23),
    ("*7<>?J\\^cesvyz", 0.87, 0.17),
    ("$+02345689=EFLPSTYZ_abdghknopqux~", 0.99, 0.10),
    ("#&ABCDGHKNOQRUVXw", 1.15, 0.11),
    ("%@MWm", 1.44, 0.19),
)
_WIDTH_OF = {c: (width, spread) for members, width, spread in _WIDTHS for c in members}
_EM = (1.75, 0.2)  # Chinese, Japanese, Korean: one em; letters and digits are .57 of it
UNKNOWN = (1.0, 0.25)
"""For a character that was not measured."""


def character_width(cell: str) -> tuple[float, float]:
    """Return the width of a character relative to letters and digits, and its spread.

    Args:
        cell: a grapheme, or white space; combining marks are ignored.

    Returns:
        The width, and the standard deviation of its logarithm over fonts.
    """
    base = unicodedata.normalize("NFD", cell)[0]
    if base.isspace():
        base = " "
    if base in _WIDTH_OF:
        return _WIDTH_OF[base]
    return _EM if unicodedata.east_asian_width(base) in "WF" else UNKNOWN
