"""The section `config.pseudo`: how pseudo labels are made, and when they are rejected.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import Any

from craftjax.weak.collapse import GuardOptions
from ocrcore.data.mixing import SourceError
from ocrcore.options import from_section

TEACHERS = ("ema", "copy", "fixed")
METHODS = ("split", "watershed")


@dataclass(frozen=True, slots=True)
class PseudoOptions:
    """How words are cropped and split into characters.

    Attributes:
        method: "split" or "watershed".
        height: height of the teacher's crops in pixels.
        core_threshold: watershed: region scores above this are the core of a character.
        background_threshold: watershed: region scores below this are background.
        min_confidence: words whose confidence is not above this are split without the scores, and
            get this confidence.
        original: watershed with the original's faults, for comparison.

    Raises:
        ValueError: a field is invalid; the message names it.
    """

    method: str = "split"
    height: int = 128
    core_threshold: float = 0.75
    background_threshold: float = 0.05
    min_confidence: float = 0.5
    original: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r}: expected one of {METHODS}")
        if isinstance(self.height, bool) or not isinstance(self.height, int):
            raise ValueError(f"height={self.height!r}: expected an integer")
        if not 32 <= self.height <= 1024:
            raise ValueError(f"height={self.height}: expected 32 to 1024 pixels")
        if not 0 <= self.background_threshold <= self.core_threshold <= 1:
            raise ValueError(
                f"background_threshold={self.background_threshold!r}, core_threshold="
                f"{self.core_threshold!r}: expected 0 <= background_threshold <= core_threshold "
                "<= 1"
            )
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence={self.min_confidence!r}: expected 0 to 1")
        if self.original and self.method != "watershed":
            raise ValueError(
                f"original=True, method={self.method!r}: original reproduces the faults of "
                "method='watershed' only"
            )


@dataclass(frozen=True, slots=True)
class SupervisionOptions:
    """The section `config.pseudo`, which also has the fields of `PseudoOptions`.

    Attributes:
        teacher: "ema": the EMA of the network; "copy": the network itself, as in the original;
            "fixed": the start weights, which label each page only once.
        every: steps from one labeling to the next; 0 for one epoch of the largest word-labeled data
            set.
        chunk: most pages to label at once; shortens the period if necessary. 0 for no limit.
        batch_size: word crops that a device scores together; None: 1 on CPUs, 64 elsewhere.
        threads: threads that crop and split words.
        workers: processes to use instead of threads; 0: none.
        guard: limits of a collapse.
        labels: how words are cropped and split.

    Raises:
        ValueError: a value is out of range.
    """

    teacher: str = "ema"
    every: int = 0
    chunk: int = 0
    batch_size: int | None = None
    threads: int = 2
    workers: int = 0
    guard: GuardOptions = field(default_factory=GuardOptions)
    labels: PseudoOptions = field(default_factory=PseudoOptions)

    def __post_init__(self) -> None:
        if self.teacher not in TEACHERS:
            raise ValueError(f"teacher is {self.teacher!r}, expected one of {', '.join(TEACHERS)}")
        for name in ("every", "chunk", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")
        for name in ("threads", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, expected 1 or more")

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> SupervisionOptions:
        """Read `config.pseudo`.

        Raises:
            OptionsError: an unknown field, or an invalid value.
            SourceError: a package is missing.
        """
        values = dict(section.items())
        own = {one.name for one in fields(cls)} - {"labels"}
        mine = {name: values.pop(name) for name in own & set(values)}
        labels = from_section(PseudoOptions, values, "config.pseudo")
        if labels.method == "watershed" and find_spec("skimage") is None:
            raise SourceError(
                "config.pseudo.method is 'watershed', which needs scikit-image: pip install "
                '"ocrjax[watershed]"'
            )
        return from_section(cls, {**mine, "labels": labels}, "config.pseudo")
