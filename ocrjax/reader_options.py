"""Options of the reader.

Host code: no jax.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from craftjax.options import DetectorOptions
from ocrcore.options import expect

TURNS = (90, 180, 270)
DETECTION = DetectorOptions(canvas_size=1280)
"""Detector options for weights without an operating point next to them.

EasyOCR's thresholds, on a canvas with half the side of EasyOCR's. Chosen for the end-to-end score
on 79 photos of ICDAR 2015 (those whose number modulo 5 is 1 or 3), with `ppocrv6_small`: F .740,
against .684 with the thresholds .85 / .2 / .5, which are better for detection alone.
"""


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """Options of the reader.

    Attributes:
        min_confidence: words with a lower confidence are dropped. On the photos used to choose
            `DETECTION`, F is .711 without a limit, .740 at 0.5, .741 at 0.6.
        margin: margin around a word in its crop, as a fraction of its shorter side.
        vertical: words with height / width of at least this are also read turned by 90 and 270
            degrees, because they may run up or down; the most confident reading counts. 0: never.
        rotations: angles out of 90, 180 and 270 degrees at which every word is also read.
        allowlist: the only characters that may be read; empty: all.
        blocklist: characters that are never read; ignored if there is an allowlist.
        lexicon: a file of words, one per line; every reading is one of them. Empty: no lexicon.
        characters: whether words get the boxes of their characters, if the recognizer knows them.
        crops: number of words read together; None: 64 on a CPU, else 1024.
    """

    min_confidence: float = 0.5
    margin: float = 0.0
    vertical: float = 1.5
    rotations: tuple[int, ...] = ()
    allowlist: str = ""
    blocklist: str = ""
    lexicon: str | Path = ""
    characters: bool = True
    crops: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotations", tuple(self.rotations))
        expect(
            self,
            (0 <= self.min_confidence <= 1, "min_confidence", "0 to 1"),
            (set(self.rotations) <= set(TURNS), "rotations", "some of 90, 180 and 270"),
            (0 <= self.margin <= 1, "margin", "0 to 1"),
            (not self.vertical or 1 <= self.vertical < inf, "vertical", "0, or 1 or more"),
            (self.crops is None or self.crops >= 1, "crops", "1 or more, or None"),
        )

    def of_recognizer(self) -> dict[str, Any]:
        """Return the options for `Recognizer.recognize` that differ from its defaults."""
        changes: dict[str, Any] = {}
        if self.allowlist:
            changes["allowlist"] = self.allowlist
        if self.blocklist:
            changes["blocklist"] = self.blocklist
        if self.lexicon:
            changes.update(decoder="lexicon", lexicon=self.lexicon)
        return changes
