"""Kinds of faults in a data set, and a single finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SEVERITIES = ("error", "warning", "hint")
"""An error is a label that is lost or wrong; a warning, one that probably is; a hint is neither."""


class Kind(NamedTuple):
    """A kind of fault.

    Attributes:
        severity: one of `SEVERITIES`.
        repair: what a repaired copy does about it; empty if only a person can decide.
    """

    severity: str
    repair: str = ""


_OUT = "left out"
KINDS = {
    "broken picture": Kind("error", _OUT),
    "broken line": Kind("error", _OUT),
    "broken labels": Kind("error", "the image is left out"),
    "ambiguous layout": Kind("error"),
    "picture without labels": Kind("error", _OUT),
    "duplicate picture name": Kind("error", "the first one is kept"),
    "x, y, width, height": Kind("error", "converted to left, top, right, bottom"),
    "EXIF rotation ignored": Kind("error", "rotated with the image"),
    "relative coordinates": Kind("error", "converted to pixels"),
    "zero area": Kind("error", _OUT),
    "outside the picture": Kind("error", _OUT),
    "within the first pixel": Kind("error", _OUT),
    "self-crossing": Kind("error", "corners are reordered"),
    "anticlockwise": Kind("error", "corners are reordered"),
    "labeled twice": Kind("error", "the first one is kept"),
    "whole data set": Kind("warning"),
    "labels without picture": Kind("warning", _OUT),
    "not used": Kind("warning", _OUT),
    "concave or too thin": Kind("warning"),
    "lies on its side": Kind("warning", "starts at the top left, if many words are affected"),
    "upside down": Kind("warning", "starts at the top left, if many words are affected"),
    "reaches outside": Kind("warning", "axis-aligned boxes are clipped"),
    "overlapping labels": Kind("warning"),
    "too much text": Kind("warning"),
    "too little text": Kind("warning"),
    "wrong encoding": Kind("warning", "decoded correctly"),
    "markup": Kind("warning", "converted to plain text"),
    "lost characters": Kind("warning"),
    "control character": Kind("warning", _OUT),
    "zero-width character": Kind("warning", _OUT),
    "not NFC": Kind("warning", "converted to NFC"),
    "full-width character": Kind("warning", "replaced by the ordinary one"),
    "mixed scripts": Kind("warning", "look-alikes are replaced by letters of the other script"),
    "unusual space": Kind("warning", "replaced by a single space"),
    "outside the charset": Kind("warning"),
    "near-duplicate in test set": Kind("warning", "left out of the training part"),
    "contradicted": Kind("warning"),
    "word without a label": Kind("hint"),
    "no text": Kind("hint"),
    "stacked letters": Kind("hint"),
    "too small": Kind("hint"),
    "near-duplicates": Kind("hint"),
}
"""Kinds by name, the worst first; words are repaired in this order."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault in a data set.

    Attributes:
        kind: one of `KINDS`.
        path: the label file; the image or folder if the fault is not in a label file.
        why: what is wrong, and what was expected.
        value: the value in the label, as text.
        line: line of the label file, from 1; 0 if there is none.
        picture: path of the image, if the finding is about one.
        part: part of the data set, "train" or "test".
        word: index of the word on its page; None if the finding is not about a word.
        quad: corners of the word as `(x, y)`; empty if the finding is not about a word.
        hint: whether this finding is only a hint although its kind is more severe.
    """

    kind: str
    path: str
    why: str
    value: str = ""
    line: int = 0
    picture: str = ""
    part: str = ""
    word: int | None = None
    quad: tuple[tuple[float, float], ...] = ()
    hint: bool = False

    @property
    def severity(self) -> str:
        """Return one of `SEVERITIES`."""
        return "hint" if self.hint else KINDS[self.kind].severity

    @property
    def place(self) -> str:
        """Return where the fault is, for the user."""
        if self.line:
            return f"{self.path}:{self.line}"
        if self.word is None:
            return self.path
        name = self.picture.replace("\\", "/").rpartition("/")[2]
        return f"{self.path}: {name}, word {self.word + 1}"

    def __str__(self) -> str:
        value = self.value if len(self.value) <= 60 else self.value[:60] + "..."
        return f"{self.place}: {f'{value!r}: ' if value else ''}{self.why}"
