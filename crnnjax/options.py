"""Options of a recognizer.

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
    """Weights, charset and options that do not fit together; the message says what to do."""


@dataclass(frozen=True, slots=True)
class RecognizerOptions:
    """Options for reading crops.

    Attributes:
        resize: how crops become inputs. `bucket`: scaled as in EasyOCR and padded to one of a few
            widths; the network ignores the padding beyond the crop's width, or beyond a width equal
            to the height if that is more; crops of more than 8192 columns are squeezed. `easyocr`:
            exactly as EasyOCR 1.7.2 reads a single crop, including padding that is read and a
            second reading of low-contrast crops. `fixed`: every crop to one size, as in
            deep-text-recognition-benchmark.
        width: width of the inputs for `fixed`.
        turn_above: height / width from which crops are first rotated by 90 degrees
            (`crnnjax.resize.turn_tall`), as in training; 0 rotates none. Not used by `easyocr`.
        decoder: `greedy`, `beam` (needs the extra `beam-search`) or `lexicon`.
        beam_width: number of prefixes that `beam` keeps at each step.
        lexicon: words for the decoder `lexicon`, or a file with one word per line; every reading is
            one of the words. Empty: no lexicon.
        confidence: confidence of greedy decoding: `easyocr` or `dtrb`, see
            `crnnjax.decoding.confidence`.
        allowlist: the only characters that may be read; empty: all.
        blocklist: characters that are never read; ignored if there is an allowlist.
        contrast_threshold: with `easyocr`, crops with a lower confidence are read again with more
            contrast, and the more confident reading counts.
        contrast: target contrast of the second reading.
        batch_size: crops read at a time; None: 16 on a CPU, else 256.
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
                "the decoder 'lexicon' and the option `lexicon` need each other: give a file of "
                "words, one per line, as `lexicon`"
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
