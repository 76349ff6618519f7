"""How a recognizer reads.

Host code: no jax.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path

from crnnjax.lexicon import Lexicon
from crnnjax.time_steps import MIN_WIDTH
from ocrcore.options import expect

RESIZES = ("bucket", "easyocr", "fixed")
DECODERS = ("greedy", "beam", "lexicon")
CONFIDENCES = ("easyocr", "dtrb")


class RecognizerError(ValueError):
    """Weights, charset and options that do not go together; the message says what to do."""


@dataclass(frozen=True, slots=True)
class RecognizerOptions:
    """How to read.

    Attributes:
        resize: how crops become inputs. `bucket`: scaled as EasyOCR does, padded to one of a few
            widths, and the network is told the true one, or its height where that is more; crops
            of more than 8192 columns become narrower. `easyocr`: all as EasyOCR 1.7.2 does with one
            crop, the padding that it reads and its second look at dull crops included. `fixed`:
            every crop to one size, as deep-text-recognition-benchmark.
        width: of the inputs of `fixed`.
        turn_above: height over width from which on crops are turned by 90 degrees first
            (`crnnjax.resize.turn_tall`), as they were in training; 0 turns none. Not of `easyocr`.
        decoder: `greedy`, `beam` (needs the extra of that name) or `lexicon`.
        beam_width: how many prefixes survive each step of `beam`.
        lexicon: of `lexicon`, or its file, a word on each line; every reading is one of the words;
            empty: none.
        confidence: of greedy decoding: `easyocr` or `dtrb`, see `crnnjax.decoding.confidence`.
        allowlist: characters that alone may be read; empty: all.
        blocklist: characters that may not be read; an allowlist wins.
        contrast_threshold: with `easyocr`, crops of a lower confidence are read again with more
            contrast, and the surer reading counts.
        contrast: how much contrast they then get.
        batch_size: crops read at once; None: 16 on a CPU, else 256.
    """

    resize: str = "bucket"
    width: int = 100
    turn_above: float = 0.0
    decoder: str = "greedy"
    beam_width: int = 10
    lexicon: Lexicon | str | Path | None = ""
    confidence: str = "easyocr"
    allowlist: str = ""
    blocklist: str = ""
    contrast_threshold: float = 0.1
    contrast: float = 0.5
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("resize", RESIZES),
            ("decoder", DECODERS),
            ("confidence", CONFIDENCES),
        ):
            if getattr(self, name) not in known:
                raise RecognizerError(
                    f"{name} is {getattr(self, name)!r}, expected one of {', '.join(known)}"
                )
        if (self.decoder == "lexicon") != bool(self.lexicon):
            raise RecognizerError(
                "decoder 'lexicon' and a lexicon go together: give a file of words, one on each "
                "line, as `lexicon`"
            )
        batch_size = self.batch_size is None or 1 <= self.batch_size <= 1 << 16
        expect(
            self,
            (MIN_WIDTH <= self.width <= 8192, "width", f"{MIN_WIDTH} to 8192 pixels"),
            (not self.turn_above or 1 <= self.turn_above < inf, "turn_above", "0, or 1 or more"),
            (1 <= self.beam_width <= 1 << 16, "beam_width", "1 to 65,536"),
            (0 <= self.contrast_threshold < inf, "contrast_threshold", "0 or more"),
            (0 <= self.contrast <= 1, "contrast", "0 to 1"),
            (batch_size, "batch_size", "1 to 65,536, or None"),
            error=RecognizerError,
        )
