"""Measures character widths on the bundled fonts: the table of `ocrcore.character_widths`.

    python benchmarks/lab/character_widths.py

A character's width is its advance over the mean advance of the font's ASCII letters and digits;
over fonts the geometric mean and the deviation of the logarithm are taken. Characters of similar
width share a class. Prints the classes as they appear in the source.
"""

from __future__ import annotations

import string

import numpy as np

from ocrcore.synth.fonts import bundled_fonts, open_face

# Classes span a factor of 2 ** (1 / STEPS).
STEPS = 4
SIZE = 256


def measure(characters: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Return widths and deviations of the characters, and the mean advance in ems."""
    rows, ems = [], []
    for font in bundled_fonts():
        if font.missing(characters.replace(" ", "")):
            continue
        face = open_face(font, SIZE, shaped=False)
        advance = np.array([face.getlength(c) for c in characters])
        mean = advance[[c.isalnum() for c in characters]].mean()
        rows.append(np.log(advance / mean))
        ems.append(mean / SIZE)
    print(f"# {len(rows)} fonts; letters and digits are {np.mean(ems):.2f} ems wide")
    return np.mean(rows, axis=0), np.std(rows, axis=0), float(np.mean(ems))


def main() -> None:
    """Print the table."""
    characters = string.ascii_letters + string.digits + string.punctuation + " "
    widths, deviations, _ = measure(characters)
    classes = np.floor(widths * STEPS / np.log(2) + 0.5).astype(int)
    for name in np.unique(classes):
        inside = classes == name
        members = "".join(sorted(c for c, there in zip(characters, inside, strict=True) if there))
        width = np.exp(widths[inside].mean())
        spread = np.sqrt(np.mean(deviations[inside] ** 2) + widths[inside].var())
        print(f"    ({members!r}, {width:.2f}, {spread:.2f}),")


if __name__ == "__main__":
    main()
