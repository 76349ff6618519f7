"""Settings of synthetic text: plain frozen dataclasses and four presets.

`preset("scene", height=512)` returns a modified copy of a preset. Ranges are `(low, high)`, sizes
are pixels of the finished image, angles are degrees. `margin`, `font_size`, `rotationX`,
`rotationY` and `rotationZ` are named as in keras-ocr. Here the rotations turn a plane in front of a
pinhole camera (a rotation of 30 degrees looks like one), whereas keras-ocr's numbers go into a raw
homography and are sensible only below 0.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from ocrcore.synth.fonts import Split
from ocrcore.synth.text import DEFAULT_SOURCES, TextConfig

Range = tuple[float, float]
SPLITS = ("train", "validation", "test")
SMALLEST, LARGEST = 32, 8192  # limits of an image's sides


class ConfigError(ValueError):
    """Invalid setting; the message names it, its value and what was expected."""


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} is {value!r}, expected a fraction from 0 to 1")


def _check_range(name: str, value: Any, *, least: float, most: float = math.inf) -> None:
    try:
        low, high = value
        fine = least <= low <= high <= most
    except (TypeError, ValueError):
        fine = False
    if not fine:
        raise ConfigError(
            f"{name} is {value!r}, expected (low, high) with {least} <= low <= high <= {most}"
        )


@dataclass(frozen=True)
class Chance:
    """An effect that applies to a fraction of the pages (or words), with a random strength.

    Attributes:
        probability: in [0, 1].
        low: minimum strength, in the unit of the setting.
        high: maximum strength.
    """

    probability: float
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        _check_share("probability", self.probability)
        _check_range("low, high", (self.low, self.high), least=-math.inf)


def _check_strengths(options: Any, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Check the strengths of `Chance` settings."""
    for name, (least, most) in bounds.items():
        chance = getattr(options, name)
        if chance.probability > 0 and not least <= chance.low <= chance.high <= most:
            raise ConfigError(
                f"{name} is {(chance.probability, chance.low, chance.high)}, expected "
                f"(probability, low, high) with {least} <= low <= high <= {most}"
            )


@dataclass(frozen=True)
class Style:
    """How words are drawn; probabilities are per text item (a line, a block, a sign).

    Attributes:
        contrast: difference in luminance to the local background, 0-255.
        hard_contrast: fraction of items with less contrast, and their contrast.
        colored: fraction of items whose text has a hue; the others are nearly gray.
        outline: thickness as a fraction of the font size.
        shadow: offset as a fraction of the font size.
        extrude: depth of solid letters as a fraction of the font size.
        glow: spread of the light of glowing letters as a fraction of the font size.
        gradient: difference in luminance from one side of the fill to the other.
        texture: strength of the noise in the fill, in levels.
        opacity: opacity of translucent text.
        spacing: extra space between letters as a fraction of the font size.
    """

    contrast: Range = (60, 200)
    hard_contrast: Chance = Chance(0.0, 25, 60)
    colored: float = 0.4
    outline: Chance = Chance(0.0)
    shadow: Chance = Chance(0.0)
    extrude: Chance = Chance(0.0)
    glow: Chance = Chance(0.0)
    gradient: Chance = Chance(0.0)
    texture: Chance = Chance(0.0)
    opacity: Chance = Chance(0.0)
    spacing: Chance = Chance(0.0)

    def __post_init__(self) -> None:
        _check_range("contrast", self.contrast, least=0, most=255)
        _check_share("colored", self.colored)
        levels, ems = (0.0, 255.0), (0.0, 1.0)
        bounds = dict.fromkeys(("hard_contrast", "gradient", "texture"), levels)
        bounds |= dict.fromkeys(("outline", "shadow", "extrude", "glow", "opacity"), ems)
        _check_strengths(self, {**bounds, "spacing": (-0.5, 5.0)})


@dataclass(frozen=True)
class Effects:
    """Effects on the whole page after the text is drawn; probabilities are per page.

    Attributes:
        light: uneven light: brightness of the darkest part relative to full light, 0-1.
        glare: a bright haze: its height in levels.
        occlusion: number of objects in front.
        blur: Gaussian sigma in pixels.
        motion: length of the motion in pixels.
        lowres: remaining fraction of the resolution, 0-1.
        tone: contrast, brightness and color cast: strength, 1 is strong.
        noise: sensor noise: standard deviation in levels.
        sharpen: strength of phone-like sharpening, 1 is strong.
        jpeg: quality, 0-100.
    """

    light: Chance = Chance(0.0)
    glare: Chance = Chance(0.0)
    occlusion: Chance = Chance(0.0)
    blur: Chance = Chance(0.0)
    motion: Chance = Chance(0.0)
    lowres: Chance = Chance(0.0)
    tone: Chance = Chance(0.0)
    noise: Chance = Chance(0.0)
    sharpen: Chance = Chance(0.0)
    jpeg: Chance = Chance(0.0)

    def __post_init__(self) -> None:
        _check_strengths(
            self,
            {
                "light": (0.0, 1.0),
                "glare": (0.0, 255.0),
                "occlusion": (0.0, 100.0),
                "blur": (0.01, 100.0),
                "motion": (0.0, 200.0),
                "lowres": (0.01, 1.0),
                "tone": (0.0, 10.0),
                "noise": (0.0, 255.0),
                "sharpen": (0.0, 10.0),
                "jpeg": (0.0, 100.0),
            },
        )


@dataclass(frozen=True)
class SynthConfig:
    """Everything that determines a page, apart from the seed and the index.

    Attributes:
        height: height of the page.
        width: width of the page.
        words: number of words of a page, if there is room for them.
        font_size: em size of the text.
        margin: minimum distance of quads from the page's edge.
        rotationX: rotation of a plane about the horizontal axis: the mean of two uniform draws from
            this range, one for the page and one for the item.
        rotationY: the same about the vertical axis.
        rotationZ: the same in the image plane.
        signs: fraction of items that are plates with several lines.
        lines: fraction of the other items that are short lines instead of single words.
        vertical: fraction of single words that are written from top to bottom.
        turned: fraction of single words rotated by 90 degrees.
        arcs: fraction of single words and lines on an arc; strength: the arc's angle in degrees.
        on_planes: fraction of items that lie on a surface of the background, in its perspective.
        empty: fraction of pages without text.
        distractors: fraction of pages with objects that resemble text; strength: how many.
        legible_height: a word that is lower than this in the finished image is "don't care".
        legible_contrast: so is a word that differs less than this from its background, in levels.
        text: what is written.
        ground: kind of procedural background: "plain" or "scene".
        backgrounds: files and folders of the user's images.
        background_share: fraction of pages that use them, if there are any.
        fonts: files and folders of the user's fonts.
        bundled_fonts: whether to use the bundled fonts as well.
        without_weights: font weights to leave out, as in `ocrcore.synth.fonts.select`.
        split: "train", "validation" or "test": use only fonts and images of `backgrounds` of this
            split; None: all. Everything else is drawn the same way in all splits.
        style: how words are drawn.
        effects: effects on the finished page.
    """

    height: int = 640
    width: int = 640
    words: tuple[int, int] = (10, 20)
    font_size: Range = (12, 40)
    margin: float = 4
    rotationX: Range = (0, 0)
    rotationY: Range = (0, 0)
    rotationZ: Range = (0, 0)
    signs: float = 0.0
    lines: float = 0.0
    vertical: float = 0.0
    turned: float = 0.0
    arcs: Chance = Chance(0.0)
    on_planes: float = 0.0
    empty: float = 0.0
    distractors: Chance = Chance(0.0)
    legible_height: float = 8
    legible_contrast: float = 16
    text: TextConfig = field(default_factory=TextConfig)
    ground: str = "plain"
    backgrounds: tuple[str, ...] = ()
    background_share: float = 0.5
    fonts: tuple[str, ...] = ()
    bundled_fonts: bool = True
    without_weights: tuple[str, ...] = ()
    split: Split | None = None
    style: Style = field(default_factory=Style)
    effects: Effects = field(default_factory=Effects)

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            side = getattr(self, name)
            if isinstance(side, bool) or not isinstance(side, int):
                raise ConfigError(f"{name} is {side!r}, expected a whole number of pixels")
            if not SMALLEST <= side <= LARGEST:
                raise ConfigError(f"{name} is {side}, expected {SMALLEST} to {LARGEST} pixels")
        _check_range("words", self.words, least=1, most=1000)
        _check_range("font_size", self.font_size, least=4, most=2000)
        for name in ("margin", "legible_height", "legible_contrast"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 0 or more")
        _check_strengths(self, {"arcs": (0.0, 360.0), "distractors": (0.0, 100.0)})
        if self.font_size[0] + 2 * self.margin > min(self.height, self.width):
            raise ConfigError(
                f"font_size {self.font_size} with margin {self.margin} does not fit a page of "
                f"{self.height}x{self.width}: make the page larger or the font smaller"
            )
        for name in ("rotationX", "rotationY"):
            _check_range(name, getattr(self, name), least=-75, most=75)
        _check_range("rotationZ", self.rotationZ, least=-180, most=180)
        for name in ("signs", "lines", "vertical", "turned", "on_planes", "empty"):
            _check_share(name, getattr(self, name))
        _check_share("background_share", self.background_share)
        if self.ground not in ("plain", "scene"):
            raise ConfigError(f"ground is {self.ground!r}, expected 'plain' or 'scene'")
        if self.split is not None and self.split not in SPLITS:
            raise ConfigError(f"split is {self.split!r}, expected one of {SPLITS} or None")
        for name in ("backgrounds", "fonts", "without_weights"):
            if isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} is {getattr(self, name)!r}, expected a tuple of strings")


PLAIN = SynthConfig(
    height=320,
    width=320,
    words=(5, 15),
    font_size=(12, 40),
    rotationZ=(-5, 5),
    style=Style(contrast=(60, 220)),
)

SCENE = SynthConfig(
    height=640,
    width=640,
    words=(10, 20),
    font_size=(11, 90),
    rotationX=(-25, 25),
    rotationY=(-40, 40),
    rotationZ=(-14, 14),
    signs=0.5,
    lines=0.5,
    vertical=0.05,
    turned=0.06,
    arcs=Chance(0.1, 15, 80),
    on_planes=0.8,
    empty=0.05,
    distractors=Chance(0.5, 1, 4),
    ground="scene",
    style=Style(
        contrast=(45, 215),
        hard_contrast=Chance(0.15, 16, 45),
        colored=0.4,
        outline=Chance(0.08, 0.03, 0.1),
        shadow=Chance(0.15, 0.03, 0.12),
        extrude=Chance(0.06, 0.04, 0.12),
        glow=Chance(0.05, 0.1, 0.4),
        gradient=Chance(0.15, 20, 90),
        texture=Chance(0.2, 8, 40),
        opacity=Chance(0.1, 0.55, 0.9),
        spacing=Chance(0.2, 0.0, 0.25),
    ),
    effects=Effects(
        light=Chance(0.5, 0.35, 0.9),
        glare=Chance(0.2, 30, 130),
        occlusion=Chance(0.15, 1, 2),
        blur=Chance(0.5, 0.4, 1.6),
        motion=Chance(0.12, 2, 7),
        lowres=Chance(0.25, 0.45, 0.9),
        tone=Chance(0.8, 0.1, 1),
        noise=Chance(0.6, 1, 9),
        sharpen=Chance(0.3, 0.2, 1),
        jpeg=Chance(0.6, 35, 95),
    ),
)

WORDS = replace(
    SCENE,
    height=448,
    width=448,
    words=(14, 24),
    font_size=(14, 64),
    vertical=0.0,
    turned=0.0,
    empty=0.0,
    distractors=Chance(0.2, 1, 2),
)

# Banners, buttons and headings as rendered for screens: upright, sharp, and mostly small.
WEB = replace(
    PLAIN,
    height=256,
    width=256,
    words=(10, 26),
    font_size=(9, 40),
    margin=2,
    rotationZ=(0, 0),
    signs=0.45,
    lines=0.75,
    turned=0.02,
    arcs=Chance(0.03, 15, 60),
    empty=0.02,
    distractors=Chance(0.2, 1, 3),
    legible_height=5,
    text=TextConfig(
        sources={**DEFAULT_SOURCES, "words": 0.3, "lines": 0.42},
        cases={"as_is": 0.5, "title": 0.25, "upper": 0.24, "mixed": 0.01},
    ),
    style=Style(
        contrast=(60, 230),
        hard_contrast=Chance(0.1, 25, 60),
        colored=0.4,
        outline=Chance(0.05, 0.03, 0.1),
        shadow=Chance(0.12, 0.03, 0.12),
        extrude=Chance(0.03, 0.04, 0.1),
        glow=Chance(0.03, 0.1, 0.3),
        gradient=Chance(0.15, 20, 90),
        spacing=Chance(0.15, 0.0, 0.2),
    ),
    effects=Effects(
        lowres=Chance(0.15, 0.7, 0.95),
        tone=Chance(0.3, 0.1, 0.6),
        sharpen=Chance(0.4, 0.3, 1),
        jpeg=Chance(0.6, 50, 95),
    ),
)

PRESETS: dict[str, SynthConfig] = {"plain": PLAIN, "scene": SCENE, "web": WEB, "words": WORDS}


def preset(name: str, **changes: Any) -> SynthConfig:
    """Return a modified copy of a preset.

    Args:
        name: "plain", "scene", "web" or "words".
        **changes: new values of `SynthConfig` fields; for `style`, `effects` and `text` also a
            mapping of the fields to change, for a `Chance` also a tuple.

    Raises:
        ConfigError: an unknown preset or field, or an invalid value.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r}: expected one of {', '.join(PRESETS)}")
    config: SynthConfig = _changed(PRESETS[name], changes)
    return config


def check_preset(name: str, changes: Mapping[str, Any], where: str) -> None:
    """Check a preset with changes from a config.

    Args:
        name: as for `preset`.
        changes: as for `preset`, from a section of a config.
        where: full name of that section, for messages.

    Raises:
        ConfigError: an unknown preset or field, or an invalid value.
    """
    try:
        preset(name, **changes)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _changed(config: Any, changes: Mapping[str, Any]) -> Any:
    known = [f.name for f in fields(config) if f.init]
    if unknown := set(changes) - set(known):
        raise ConfigError(
            f"unknown settings {', '.join(sorted(unknown))}; known are {', '.join(known)}"
        )
    values = {}
    for name, value in changes.items():
        now = getattr(config, name)
        if isinstance(now, Chance) and isinstance(value, tuple | list):
            value = Chance(*value)
        elif is_dataclass(now) and isinstance(value, Mapping):
            value = _changed(now, value)
        values[name] = value
    return replace(config, **values)
