"""Options of `ocrjax fit`.

Host code: no jax.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf
from pathlib import Path

from ocrcore.data.readers.layouts import LAYOUT_NAMES, is_layout
from ocrcore.options import expect

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class FitError(ValueError):
    """Data or options that cannot be fitted; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """Options of `ocrjax.fit`.

    Attributes:
        data: folder of photos and their word labels, or a label file, in any format that
            `ocrcore.data.readers.words.open_words` detects.
        out: folder for all results.
        name: name of the reader and of its networks in EasyOCR; empty: that of `out`.
        budget: seconds for all stages together.
        charset: characters of the recognizer, a name or a file as for `crnnjax.charset.named`.
            Empty: those of the pretrained weights (for `ppocrv6_small` the English letters, digits
            and punctuation) and those of the labels.
        split: a file of lines `part`, tab, image name; part is train, validation or test. Empty:
            the folder of a test set is kept; otherwise groups of near-duplicates are divided.
        layout: layout of the label files, as for `ocrcore.data.readers.words.open_words`.
        detector: pretrained weights of the detector, a name or a file.
        recognizer: pretrained weights of the recognizer, a name or a file.
        detector_steps: training steps of the detector; None: as many as the budget allows, 0: none.
        recognizer_steps: training steps of the recognizer, in the same way.
        seed: seed of sample order and augmentation.
        accept_warnings: continue if the audit warns of faults that make training fail.
        easyocr_python: a Python interpreter with EasyOCR, to check the exports; empty: no check.

    Raises:
        OptionsError: a value is out of range.
    """

    data: str
    out: str
    name: str = ""
    budget: float = 2700.0
    charset: str = ""
    split: str = ""
    layout: str = "auto"
    detector: str = "craft_mlt_25k"
    recognizer: str = "ppocrv6_small"
    detector_steps: int | None = None
    recognizer_steps: int | None = None
    seed: int = 0
    accept_warnings: bool = False
    easyocr_python: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            name = re.sub(r"\W", "_", Path(self.out).resolve().name, flags=re.ASCII)
            object.__setattr__(self, "name", f"_{name}" if name[:1].isdecimal() else name)
        expect(
            self,
            (
                bool(_NAME.fullmatch(self.name)),
                "name",
                "letters, digits and _, not beginning with a digit: EasyOCR imports a module of "
                "this name",
            ),
            (0 < self.budget < inf, "budget", "a positive number of seconds"),
            (is_layout(self.layout), "layout", f"one of {LAYOUT_NAMES}"),
            (0 <= self.seed < 1 << 63, "seed", "0 to 2**63 - 1"),
        )
        for field in ("detector_steps", "recognizer_steps"):
            value = getattr(self, field)
            fine = value is None or 0 <= value < 1 << 31
            expect(self, (fine, field, "0 or more steps, or None"))


def parse_budget(text: str) -> float:
    """Parse a time such as `45m`, `1.5h`, `90s` or `1h30m` to seconds; a bare number is minutes.

    Raises:
        FitError: the text is not such a time.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    if re.fullmatch(r"\d+(\.\d+)?", text):
        parts = [(text, "m")]
    elif "".join(number + unit for number, unit in parts) != text:
        parts = []
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not seconds:
        raise FitError(f"--budget {text}: expected a time such as 45m, 1h30m or 90s")
    return seconds
