"""Crops of single words, drawn directly at a given height: the fast source for a recognizer.

Pages (`ocrcore.synth.pages`) look more like photos, and crops can be cut from them; this module
draws one word alone, in well under a millisecond. A crop is a pure function of the configuration,
the seed and the index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from ocrcore.pages import ByteArray, FloatArray
from ocrcore.synth.fonts import Font, FontError, bundled_fonts
from ocrcore.synth.glyphs import render_run
from ocrcore.synth.text import TextConfig, TextError, font_remedy, pick_font, sample_text

_MAX_TRIES = 100
# Weights of red, green and blue in the luminance (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_BANK_COUNT, _BANK_HEIGHT, _BANK_WIDTH = 16, 256, 1024


class WordCrop(NamedTuple):
    """A drawn word.

    Attributes:
        image: `(height, w, 3)` uint8, RGB.
        text: the text in the image.
        quads: `(N, 4, 2)` float32, one for each character that is not white space, in reading
            order, clockwise from the top left.
    """

    image: ByteArray
    text: str
    quads: FloatArray


@dataclass(frozen=True, slots=True)
class WordConfig:
    """How words are drawn. Ranges are `(low, high)`; probabilities are in [0, 1].

    Attributes:
        height: height of the crop, in pixels.
        max_width: maximum width of the crop; a wider one is discarded and another one drawn.
        text: what is written.
        fonts: fonts to choose from; empty: the bundled ones.
        ink_height: height of the ink, as a fraction of the crop's height.
        side_margin: margin at the left and right, as a fraction of the crop's height.
        contrast: difference in luminance between ink and background, as a fraction of the full
            range.
        spacing: letter spacing in ems.
        stretch: factor of the letters' width: street signs have narrow letters.
        rotation: in degrees; reduced for words that would lose too much height.
        shear: horizontal shift per height.
        perspective: maximum shift of a corner, as a fraction of the ink's height.
        arc: bend of the line, in degrees.
        p_spacing: probability of a random letter spacing.
        p_stretch: probability of a random letter width.
        p_rotation: probability of a rotation.
        p_shear: probability of a shear.
        p_perspective: probability of a perspective distortion.
        p_arc: probability of a bent line.
        p_outline: probability of an outline or a shadow.
        p_gradient: probability of a background gradient.
        p_texture: probability of a background texture.
        p_blur: probability of blur.
        blur: standard deviation of the blur, as a fraction of the height.
        p_motion: probability of motion blur.
        p_low_resolution: probability of a reduced resolution.
        low_resolution: factor by which the resolution is reduced.
        p_noise: probability of sensor noise.
        noise: standard deviation of the noise, in levels of 0-255.
        p_jpeg: probability of JPEG compression.
        jpeg_quality: JPEG quality.

    Raises:
        ValueError: an invalid size, range or probability.
    """

    height: int = 32
    max_width: int = 1024
    text: TextConfig = field(default_factory=TextConfig)
    fonts: tuple[Font, ...] = ()
    ink_height: tuple[float, float] = (0.6, 0.94)
    side_margin: tuple[float, float] = (0.02, 0.3)
    contrast: tuple[float, float] = (0.18, 0.9)
    spacing: tuple[float, float] = (-0.04, 0.15)
    stretch: tuple[float, float] = (0.65, 1.05)
    rotation: tuple[float, float] = (-6.0, 6.0)
    shear: tuple[float, float] = (-0.35, 0.35)
    perspective: float = 0.15
    arc: tuple[float, float] = (-40.0, 60.0)
    p_spacing: float = 0.3
    p_stretch: float = 0.5
    p_rotation: float = 0.35
    p_shear: float = 0.25
    p_perspective: float = 0.35
    p_arc: float = 0.06
    p_outline: float = 0.15
    p_gradient: float = 0.35
    p_texture: float = 0.45
    p_blur: float = 0.35
    blur: tuple[float, float] = (0.008, 0.045)
    p_motion: float = 0.08
    p_low_resolution: float = 0.2
    low_resolution: tuple[float, float] = (1.3, 2.6)
    p_noise: float = 0.4
    noise: tuple[float, float] = (2.0, 14.0)
    p_jpeg: float = 0.2
    jpeg_quality: tuple[int, int] = (20, 90)

    def __post_init__(self) -> None:
        if not 8 <= self.height <= 512:
            raise ValueError(f"height {self.height}: expected 8 to 512 pixels")
        if not self.height <= self.max_width <= 16384:
            raise ValueError(f"max_width {self.max_width}: expected height to 16384 pixels")
        for name in self.__slots__:
            value = getattr(self, name)
            if name.startswith("p_") and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, expected a probability")
            if isinstance(value, tuple) and name != "fonts" and not value[0] <= value[1]:
                raise ValueError(f"{name} is {value}, expected (low, high)")
        bounds = {
            "ink_height": (0.1, 1.0),
            "side_margin": (0.0, 4.0),
            "contrast": (0.0, 1.0),
            "spacing": (-0.5, 5.0),
            "stretch": (0.2, 5.0),
            "rotation": (-45.0, 45.0),
            "shear": (-1.0, 1.0),
            "arc": (-90.0, 90.0),
            "blur": (0.0, 1.0),
            "low_resolution": (1.0, 16.0),
            "noise": (0.0, 255.0),
            "jpeg_quality": (1, 100),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value[0] <= value[1] <= high:
                raise ValueError(f"{name} is {value}, expected within {low} to {high}")
        if not 0 <= self.perspective <= 0.5:
            raise ValueError(f"perspective is {self.perspective}, expected 0 to 0.5")


class WordRenderer(Sequence[WordCrop]):
    """Draws word crops: `WordRenderer(config, seed)[index]`.

    A random-access data source of `length` crops, each a pure function of configuration, seed and
    index. It can be pickled and has no state that influences a crop.

    Attributes:
        refused: for each character, how often a text was replaced because no font could draw it.
    """

    def __init__(self, config: WordConfig | None = None, *, seed: int = 0, length: int = 1_000_000):
        if seed < 0 or length < 1:
            raise ValueError(f"seed {seed} and length {length}: expected >= 0 and >= 1")
        self.config = config or WordConfig()
        self.seed = seed
        self.length = length
        self.fonts = self.config.fonts or bundled_fonts()
        self.refused: Counter[str] = Counter()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> WordCrop:  # type: ignore[override]
        """Draw the crop at an index.

        Raises:
            IndexError: the index is outside `0 .. length - 1`.
            TextError: no text could be drawn with these fonts in 100 tries.
        """
        if not 0 <= index < self.length:
            raise IndexError(f"index {index}: expected 0 to {self.length - 1}")
        return self.draw(np.random.Generator(np.random.Philox(key=[self.seed, index])))

    def draw(
        self, rng: np.random.Generator, *, accept: Callable[[str, Font], bool] | None = None
    ) -> WordCrop:
        """Draw a crop with the caller's random generator.

        Args:
            rng: the random generator; the crop is a function of its state and the configuration.
            accept: returns whether a text in a font is acceptable; otherwise another one is tried.
                Such tries are not limited, so it must accept something eventually.

        Raises:
            TextError: no text could be drawn with these fonts in 100 tries.
        """
        refused: Counter[str] = Counter()
        wide = tries = 0
        while tries < _MAX_TRIES:
            text = sample_text(rng, self.config.text)
            drawn = pick_font(rng, text, self.fonts, refused, config=self.config.text)
            if drawn is not None and accept is not None and not accept(*drawn):
                continue
            tries += 1
            if drawn is None:
                continue
            crop = _draw(rng, self.config, *drawn)
            if crop is not None:
                self.refused += refused
                return crop
            wide += 1
        self.refused += refused
        raise TextError(
            f"none of {_MAX_TRIES} texts could be drawn: {wide} were wider than "
            f"{self.config.max_width} pixels, for the others no font has the characters "
            f"{''.join(c for c, _ in refused.most_common(40))!r}: give shorter texts; "
            f"{font_remedy(refused)}"
        )


def _draw(rng: np.random.Generator, config: WordConfig, text: str, font: Font) -> WordCrop | None:
    """Draw one crop; None if it would be wider than allowed."""
    height = config.height
    chance = rng.random
    spacing = _between(rng, config.spacing) if chance() < config.p_spacing else 0.0
    arc = _between(rng, config.arc) if chance() < config.p_arc else 0.0
    size = 1.5 * height
    try:
        run = render_run(text, font, size, spacing=spacing, arc=arc)
    except FontError:
        raise
    except ValueError:  # the word is too short for its arc
        run = render_run(text, font, size, spacing=spacing)
    placed = _placement(rng, config, run.quads)
    if placed is None:
        return None
    matrix, width, scale = placed
    mask = run.mask
    if scale < 0.6:  # the warp reads four pixels for each: halve first to avoid aliasing
        half = (max(1, mask.shape[1] // 2), max(1, mask.shape[0] // 2))
        back = np.diag([mask.shape[1] / half[0], mask.shape[0] / half[1], 1.0])
        mask = cv2.resize(mask, half, interpolation=cv2.INTER_AREA)
        ink = _warp(mask, matrix @ back, width, height)
    else:
        ink = _warp(mask, matrix, width, height)
    quads = cv2.perspectiveTransform(run.quads.reshape(1, -1, 2), matrix).reshape(-1, 4, 2)

    low, high = _colors(rng, config)
    # The background varies less than its contrast to the ink, or the word would be lost.
    image = _ground(rng, config, low, width, 4 + 0.2 * abs(float((high - low) @ _LUMA)))
    if chance() < config.p_outline:
        other = np.array([chance(), chance(), chance()], np.float32) * 255
        if chance() < 0.5:
            under = cv2.dilate(ink, np.ones((3, 3), np.uint8))
        else:
            shift = np.array([[1, 0, 1 + 2 * chance()], [0, 1, 1 + chance()]]) * (1, 1, height / 32)
            under = cv2.warpAffine(ink, shift, (width, height))
        _lay(image, under, other, 0.4 + 0.6 * chance())
    _lay(image, ink, high, 0.85 + 0.15 * chance() if chance() < 0.2 else 1.0)
    return WordCrop(_degrade(rng, config, image), text, quads.astype(np.float32))


def _between(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * float(rng.random())


def _placement(
    rng: np.random.Generator, config: WordConfig, quads: FloatArray
) -> tuple[np.ndarray, int, float] | None:
    """Choose the position of the ink.

    Returns:
        `(matrix, width, scale)`: 3 x 3 map from the mask to the crop, in pixel-edge coordinates;
        the crop's width; the approximate scale of the ink. None if the crop would be too wide.
    """
    points = quads.reshape(-1, 2)
    (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
    # A lone dot or dash is not enlarged to the whole height.
    wide, tall = x1 - x0, max(y1 - y0, config.height * 0.6)
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    half = np.array([wide, tall]) / 2
    corners = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]) * half
    source = (corners + np.array([middle_x, middle_y])).astype(np.float32)
    chance = rng.random
    if chance() < config.p_stretch:
        factor = _between(rng, config.stretch)
        corners[:, 0] *= factor
        wide *= factor
    if chance() < config.p_shear:
        corners[:, 0] += _between(rng, config.shear) * corners[:, 1]
    if chance() < config.p_rotation:
        # A long word is rotated by an angle that costs at most half its height.
        most = np.arctan2(0.5 * tall, wide)
        angle = float(np.clip(np.deg2rad(_between(rng, config.rotation)), -most, most))
        turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
        corners = corners @ turn
    if chance() < config.p_perspective:
        corners += (rng.random((4, 2)) - 0.5) * (2 * config.perspective * tall)
    low, high = corners.min(0), corners.max(0)
    target = config.height * _between(rng, config.ink_height)
    scale = target / float(high[1] - low[1])
    left = config.height * _between(rng, config.side_margin)
    right = config.height * _between(rng, config.side_margin)
    width = max(1, round(left + float(high[0] - low[0]) * scale + right))
    if width > config.max_width:
        return None
    top = (config.height - target) * float(chance())
    goal = ((corners - low) * scale + (left, top)).astype(np.float32)
    return cv2.getPerspectiveTransform(source, goal), width, scale


def _warp(mask: ByteArray, matrix: np.ndarray, width: int, height: int) -> ByteArray:
    """Warp by a matrix in pixel-edge coordinates; OpenCV expects pixel centers."""
    centerd = matrix.copy()
    centerd[:, 2] += 0.5 * (matrix[:, 0] + matrix[:, 1])
    centerd[0] -= 0.5 * centerd[2]
    centerd[1] -= 0.5 * centerd[2]
    return cv2.warpPerspective(mask, centerd, (width, height), flags=cv2.INTER_LINEAR)


def _colors(rng: np.random.Generator, config: WordConfig) -> tuple[np.ndarray, np.ndarray]:
    """Draw the colors of background and ink: first a contrast in luminance, then the hues."""
    contrast = 255 * _between(rng, config.contrast)
    dark = float(rng.random()) * (255 - contrast)
    levels = [dark, dark + contrast]
    if rng.random() < 0.5:
        levels.reverse()
    hues = rng.random((2, 3), np.float32)
    tints = (hues - 0.5) * (220 * rng.random((2, 1), np.float32) ** 2)
    out = []
    for level, tint in zip(levels, tints, strict=True):
        tint = tint - float(tint @ _LUMA)
        # Reduce the tint until the color is in range, so that its luminance stays.
        room = np.where(tint > 0, 255 - level, level) / np.maximum(np.abs(tint), 1e-3)
        out.append((level + tint * min(1.0, float(room.min()))).astype(np.float32))
    return out[0], out[1]


@lru_cache(maxsize=1)
def _bank() -> tuple[np.ndarray, np.ndarray]:
    """Return textures and noise to cut from, the same in every process.

    Returns:
        `(textures, noise)`: `(16, 256, 1024)` and `(256, 4096, 3)` float32 of mean 0 and standard
        deviation 1.
    """
    rng = np.random.Generator(np.random.Philox(key=[20, 24]))
    textures = np.zeros((_BANK_COUNT, _BANK_HEIGHT, _BANK_WIDTH), np.float32)
    for texture in textures:
        fall = float(rng.uniform(0.5, 1.3))
        for octave in range(1, 9):
            cells = rng.standard_normal(
                (max(2, _BANK_HEIGHT >> octave), max(2, _BANK_WIDTH >> octave)), np.float32
            )
            grown = cv2.resize(cells, (_BANK_WIDTH, _BANK_HEIGHT), interpolation=cv2.INTER_CUBIC)
            texture += grown * 2 ** (fall * (octave - 5))
        texture -= texture.mean()
        texture /= texture.std()
    noise = rng.standard_normal((_BANK_HEIGHT, 4 * _BANK_WIDTH, 3), np.float32)
    return textures, noise


def _cut(rng: np.random.Generator, field_: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cut a random window; enlarge the field if it is too small."""
    rows, columns = min(height, field_.shape[0]), min(width, field_.shape[1])
    y = int(rng.random() * (field_.shape[0] - rows + 1))
    x = int(rng.random() * (field_.shape[1] - columns + 1))
    window = field_[y : y + rows, x : x + columns]
    if (rows, columns) != (height, width):
        window = cv2.resize(window, (width, height), interpolation=cv2.INTER_LINEAR)
    return window


def _ground(
    rng: np.random.Generator, config: WordConfig, color: np.ndarray, width: int, reach: float
) -> np.ndarray:
    """Draw the background, `(height, width, 3)` float32, that varies by about `reach`."""
    height = config.height
    image = np.empty((height, width, 3), np.float32)
    image[:] = color
    if rng.random() < config.p_gradient:
        ends = ((rng.random((2, 2, 3), np.float32) - 0.5) * (4 * reach)).astype(np.float32)
        image += cv2.resize(ends, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < config.p_texture:
        textures, _ = _bank()
        window = _cut(rng, textures[int(rng.random() * len(textures))], height, width)
        tint = (rng.random(3, np.float32) * 0.6 + 0.7) * (reach * float(rng.random()))
        image += window[..., None] * tint
    return image


def _lay(image: np.ndarray, alpha: ByteArray, color: np.ndarray, strength: float) -> None:
    """Blend a color over the image, in place."""
    weight = (alpha * np.float32(strength / 255))[..., None]
    image += (color - image) * weight


def _degrade(rng: np.random.Generator, config: WordConfig, image: np.ndarray) -> ByteArray:
    """Imitate a camera: blur, low resolution, noise, compression."""
    height, width = image.shape[:2]
    chance = rng.random
    if chance() < config.p_blur:
        sigma = max(0.05, height * _between(rng, config.blur))
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    if chance() < config.p_motion:
        length = 3 + 2 * int(chance() * max(1, height // 16))
        kernel = np.zeros((length, length), np.float32)
        turn = float(chance()) * np.pi
        reach = np.array([np.cos(turn), np.sin(turn)]) * (length // 2)
        center = np.array([length // 2, length // 2])
        start, end = np.rint(center - reach).astype(int), np.rint(center + reach).astype(int)
        cv2.line(kernel, start.tolist(), end.tolist(), 1.0)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    if chance() < config.p_low_resolution:
        factor = _between(rng, config.low_resolution)
        small = (max(1, round(width / factor)), max(1, round(height / factor)))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if chance() < config.p_noise:
        _, noise = _bank()
        image = image + _cut(rng, noise, height, width) * np.float32(_between(rng, config.noise))
    out = cv2.convertScaleAbs(np.maximum(image, 0))  # rounds and clips at 255
    if chance() < config.p_jpeg:
        quality = int(_between(rng, config.jpeg_quality))
        done, data = cv2.imencode(
            ".jpg", cv2.cvtColor(out, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
        )
        if not done:
            raise ValueError(f"OpenCV could not encode a JPEG of {width} x {height} pixels")
        out = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return out
