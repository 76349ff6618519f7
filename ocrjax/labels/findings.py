"""What may be wrong with a data set: the kinds, and one finding of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SEVERITIES = ("error", "warning", "hint")
"""An error is a label that is lost or wrong; a warning, one that probably is; a hint, neither."""


class Kind(NamedTuple):
    """A kind of fault.

    Attributes:
        severity: one of `SEVERITIES`.
        repair: what a repaired copy has instead; empty where only a person can tell.
    """

    severity: str
    repair: str = ""


_OUT = "left out"
KINDS = {
    "broken picture": Kind("error", _OUT),
    "broken line": Kind("error", _OUT),
    "broken labels": Kind("error", "the picture is left out"),
    "layout not clear": Kind("error"),
    "picture without labels": Kind("error", _OUT),
    "two pictures of one name": Kind("error", "the first one is kept"),
    "x, y, width, height": Kind("error", "made left, top, right, bottom"),
    "labels of stored pixels": Kind("error", "turned with the picture"),
    "shares of the picture": Kind("error", "made pixels"),
    "zero area": Kind("error", _OUT),
    "outside of the picture": Kind("error", _OUT),
    "within the first pixel": Kind("error", _OUT),
    "self-crossing": Kind("error", "corners are put in order"),
    "anticlockwise": Kind("error", "corners are put in order"),
    "labeled twice": Kind("error", "the first one is kept"),
    "whole data set": Kind("warning"),
    "labels without picture": Kind("warning", _OUT),
    "not used": Kind("warning", _OUT),
    "dented or too thin": Kind("warning"),
    "lies on its side": Kind("warning", "begins at its top left, where many words lie so"),
    "stands on its head": Kind("warning", "begins at its top left, where many words stand so"),
    "reaches outside": Kind("warning", "upright boxes are cut"),
    "overlapping labels": Kind("warning"),
    "too much text": Kind("warning"),
    "too little text": Kind("warning"),
    "wrong encoding": Kind("warning", "decoded as it was meant"),
    "markup": Kind("warning", "made plain text"),
    "lost characters": Kind("warning"),
    "control character": Kind("warning", _OUT),
    "zero-width character": Kind("warning", _OUT),
    "not NFC": Kind("warning", "made NFC"),
    "full-width character": Kind("warning", "made an ordinary one"),
    "mixed scripts": Kind("warning", "look-alikes become letters of the other script"),
    "odd blank": Kind("warning", "made one space"),
    "outside the charset": Kind("warning"),
    "twin in another part": Kind("warning", "left out of the training part"),
    "contradicted": Kind("warning"),
    "word without a label": Kind("hint"),
    "no text": Kind("hint"),
    "letters one below another": Kind("hint"),
    "too small": Kind("hint"),
    "near-duplicates": Kind("hint"),
}
"""By name, the worst first; words are repaired in this order."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault.

    Attributes:
        kind: one of `KINDS`.
        path: the label file, or the picture or folder where none is meant.
        why: what is wrong, and what was expected.
        value: of the label, as text.
        line: of the label file, from 1; 0 where it has none.
        picture: path of the picture, where the finding is about one.
        part: of the data set, "train" or "test".
        word: index of the word on its page.
        quad: of the word, corners as `(x, y)`; empty where it is about none.
        hint: whether it is one, although its kind is not.
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
        """One of `SEVERITIES`."""
        return "hint" if self.hint else KINDS[self.kind].severity

    @property
    def place(self) -> str:
        """Where it is, for the user."""
        if self.line:
            return f"{self.path}:{self.line}"
        if self.word is None:
            return self.path
        name = self.picture.replace("\\", "/").rpartition("/")[2]
        return f"{self.path}: {name}, word {self.word + 1}"

    def __str__(self) -> str:
        value = self.value if len(self.value) <= 60 else self.value[:60] + "..."
        return f"{self.place}: {f'{value!r}: ' if value else ''}{self.why}"
