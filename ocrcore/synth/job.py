"""Everything that determines a synthetic data set, and settings changed by name."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from ocrcore.synth.config import PRESETS, SPLITS, Chance, ConfigError, SynthConfig, preset
from ocrcore.synth.fonts import Font, Split, bundled_fonts, find_fonts, select
from ocrcore.synth.text import TextConfig, unused_texts
from ocrcore.synth.words import WordConfig
from ocrcore.synth.write import CROP_FORMATS, FORMATS, MAX_SYNTHTEXT

MAX_COUNT = 999_999_999
"""The keys of an LMDB have nine digits."""


@dataclass(frozen=True)
class Job:
    """Everything that determines a synthetic data set.

    Attributes:
        preset: one of `ocrcore.synth.config.PRESETS`.
        format: one of `ocrcore.synth.write.FORMATS`.
        count: number of samples: pages or crops.
        seed: an integer; another seed gives other samples.
        split: use only fonts and images of `backgrounds` of this split; None: all.
        fonts: folders and files of fonts to use in addition to the bundled ones.
        without_weights: font weights to leave out, as in `ocrcore.synth.fonts.select`.
        bundled_fonts: whether to use the bundled fonts.
        backgrounds: folders and files of background images.
        words: file with the texts to write, one per line.
        changes: settings of the preset to change: dotted names and literals, as text.
        cut: whether crops are cut from pages; False: words are drawn one by one. None: decided by
            the preset: "words" are drawn one by one.
        crop_height: height of crops.
        suffix: suffix of the image files: ".jpg" or ".png".
        quality: JPEG quality.
        records_per_file: number of samples that are committed together, and stored together if the
            format has record files or folders: a piece of the set.

    Raises:
        ConfigError: an invalid value, or two that do not go together.
    """

    preset: str
    format: str
    count: int
    seed: int = 0
    split: Split | None = None
    fonts: tuple[str, ...] = ()
    without_weights: tuple[str, ...] = ()
    bundled_fonts: bool = True
    backgrounds: tuple[str, ...] = ()
    words: str | None = None
    changes: tuple[tuple[str, str], ...] = ()
    cut: bool | None = None
    crop_height: int = 32
    suffix: str = ".jpg"
    quality: int = 95
    records_per_file: int = 1000

    def __post_init__(self) -> None:
        for name, choice, known in (
            ("preset", self.preset, tuple(PRESETS)),
            ("format", self.format, FORMATS),
            ("split", self.split, (*SPLITS, None)),
            ("suffix", self.suffix, (".jpg", ".png")),
        ):
            if choice not in known:
                shown = ", ".join(str(k) for k in known)
                raise ConfigError(f"{name} is {choice!r}, expected one of {shown}")
        for name, value, low, high in (
            ("count", self.count, 1, MAX_SYNTHTEXT if self.format == "synthtext" else MAX_COUNT),
            ("seed", self.seed, 0, 2**63),
            ("quality", self.quality, 1, 100),
            ("records_per_file", self.records_per_file, 1, 1_000_000),
        ):
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}, expected {low} to {high} ({self.format})")
        if self.cut is not None and self.format not in CROP_FORMATS:
            raise ConfigError(
                f"crops are cut or drawn for {', '.join(CROP_FORMATS)}, not for {self.format}"
            )
        if self.drawn and self.backgrounds:
            raise ConfigError(
                "words that are drawn one by one have no backgrounds: leave these out, or have the "
                "words cut out of pages (--crops cut; in Python cut=True)"
            )
        for path in (*self.fonts, *self.backgrounds, *((self.words,) if self.words else ())):
            if not Path(path).exists():
                raise ConfigError(f"{path}: no such file or folder")

    @property
    def drawn(self) -> bool:
        """Whether samples are words drawn one by one, not pages or parts of pages."""
        if self.format in CROP_FORMATS:
            return self.preset == "words" if self.cut is None else not self.cut
        return self.preset == "words" and self.format == "arrayrecord"

    @property
    def unit(self) -> str:
        """The unit of counting: "page" or "crop"."""
        return "crop" if self.drawn or self.format in CROP_FORMATS else "page"

    def page_config(self) -> SynthConfig:
        """Return the configuration of the pages.

        Raises:
            ConfigError: a change names an unknown setting or has an invalid value.
        """
        config = preset(
            self.preset,
            split=self.split,
            fonts=self.fonts,
            without_weights=self.without_weights,
            bundled_fonts=self.bundled_fonts,
            backgrounds=self.backgrounds,
        )
        if self.words:
            config = replace(config, text=own_texts(config.text, self.words))
        return changed(config, self.changes)

    def word_config(self, problems: dict[str, str] | None = None) -> WordConfig:
        """Return the configuration of words that are drawn one by one.

        Args:
            problems: filled with path and reason of fonts that cannot be used.

        Raises:
            ConfigError: as for `page_config`.
            FontError: no font is left.
        """
        found: tuple[Font, ...] = bundled_fonts() if self.bundled_fonts else ()
        if self.fonts:
            own, bad = find_fonts(self.fonts)
            found += own
            if problems is not None:
                problems.update(bad)
        fonts = select(found, split=self.split, without_weights=self.without_weights)
        config = WordConfig(height=self.crop_height, fonts=fonts)
        if self.words:
            config = replace(config, text=own_texts(config.text, self.words))
        return changed(config, self.changes)

    def unused_texts(self) -> str:
        """Say how many texts of the file are left out and why; empty if none is."""
        if not self.words:
            return ""
        return unused_texts((self.word_config() if self.drawn else self.page_config()).text)


def own_texts(config: TextConfig, path: str) -> TextConfig:
    """Return the configuration with the lines of a file as its only source."""
    return replace(config, sources={"file": 1.0}, file=path)


def changed(config: Any, changes: Sequence[tuple[str, str]]) -> Any:
    """Change settings by name.

    Args:
        config: a dataclass.
        changes: pairs of a name, dotted for nested settings (`text.max_length`), and a value: a
            Python literal, otherwise a plain string. A `Chance` is written as
            `(probability, low, high)`.

    Raises:
        ConfigError: an unknown name, or an invalid value.
    """
    return _changed(config, "", [(name.split("."), text) for name, text in changes])


def _changed(config: Any, prefix: str, changes: Sequence[tuple[list[str], str]]) -> Any:
    known = [f.name for f in fields(config) if f.init] if is_dataclass(config) else []
    for parts, _ in changes:
        if parts[0] not in known:
            name = prefix + ".".join(parts)
            raise ConfigError(f"unknown setting {name!r}; known here are {', '.join(known)}")
    values = {}
    for field_ in dict.fromkeys(parts[0] for parts, _ in changes):
        value = getattr(config, field_)
        name = prefix + field_
        for text in [text for parts, text in changes if parts == [field_]]:
            value = _value(name, value, text)
        if inner := [(p[1:], text) for p, text in changes if p[0] == field_ and len(p) > 1]:
            value = _changed(value, name + ".", inner)
        values[field_] = value
    try:
        return replace(config, **values) if values else config  # all at once: they may depend
    except ConfigError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{', '.join(prefix + name for name in values)}: {error}") from error


def _value(name: str, now: Any, text: str) -> Any:
    """Parse the new value of a setting."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    if isinstance(now, Chance):
        try:
            return Chance(*value)
        except TypeError as error:
            raise ConfigError(f"{name} is {text}, expected (probability, low, high)") from error
    if is_dataclass(now):
        raise ConfigError(f"{name} is {text!r}, expected a setting inside it, like {name}.NAME")
    if isinstance(now, str | None) and value is not None:
        return text
    return value
