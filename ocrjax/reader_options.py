"""How photos are read.

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
"""How words are found with weights that have no operating point beside them.

EasyOCR's thresholds, on a canvas of half the side of EasyOCR's. Chosen end to end on 79 photos of
ICDAR 2015 (numbers that leave 1 or 3 modulo 5), with `ppocrv6_small`: F .740, against .684 with the
thresholds .85 / .2 / .5; of words alone the latter are found better.
"""


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """How photos are read.

    Attributes:
        min_confidence: words of a lower confidence are left out. On the photos that `DETECTION`
            was chosen on F is .711 with all of them, .740 at 0.5, .741 at 0.6.
        margin: seen around a word, in shares of its shorter side.
        vertical: height over width from which on a word is also read turned by 90 and by 270
            degrees, for it may run up or down; the surest reading counts. 0: none.
        rotations: by which of 90, 180 and 270 degrees every word is also read turned.
        allowlist: characters that alone may be read; empty: all.
        blocklist: characters that may not be read; an allowlist wins.
        lexicon: a file of words, one on each line: every reading is one of them; empty: none.
        characters: words get the places of their characters, as far as the recognizer knows them.
        crops: words that are read together; None: 64 on a CPU, else 1024.
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
        """The options of `Recognizer.recognize` that differ from its own."""
        changes: dict[str, Any] = {}
        if self.allowlist:
            changes["allowlist"] = self.allowlist
        if self.blocklist:
            changes["blocklist"] = self.blocklist
        if self.lexicon:
            changes.update(decoder="lexicon", lexicon=self.lexicon)
        return changes
