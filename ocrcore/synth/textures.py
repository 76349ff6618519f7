"""Colors, noise and flat materials, used for procedural backgrounds, signs and letters.

All randomness comes from the caller's generator. The noise fields are drawn once per process from a
fixed seed and then only read, so that they never influence which page belongs to an index.
"""

from __future__ import annotations

import colorsys
from functools import lru_cache

import cv2
import numpy as np

from ocrcore.pages import ByteArray

Rng = np.random.Generator
Color = tuple[float, float, float]
SIDE = 1024  # side of the noise fields, pixels; they wrap around
_LEVELS = np.arange(256.0)
FIELDS = ("smooth", "cloud", "grain", "speckle", "leaves", "veins")


def luminance(color: Color) -> float:
    """Return the Rec. 601 luma of an RGB color, as OpenCV computes it."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def sheet(height: int, width: int, color: Color) -> ByteArray:
    """Return `(height, width, 3)` uint8 of one color, rounded down."""
    return cv2.merge([np.full((height, width), int(value), np.uint8) for value in color])


def with_luminance(color: Color, target: float) -> Color:
    """Darken a color toward black or lighten it toward white until it has this luma."""
    luma = luminance(color)
    if target <= luma:
        k = target / max(luma, 1e-6)
        return (color[0] * k, color[1] * k, color[2] * k)
    k = (target - luma) / max(255 - luma, 1e-6)
    r, g, b = (c + (255 - c) * k for c in color)
    return (r, g, b)


def between(rng: Rng, low: float, high: float) -> float:
    """Return the same number as `rng.uniform(low, high)`, several times faster."""
    return low + (high - low) * rng.random()


def random_color(rng: Rng, *, saturation: float = 0.25, value: tuple[float, float]) -> Color:
    """Draw an RGB color, 0-255.

    Args:
        rng: the random generator.
        saturation: mean saturation; most colors of streets and rooms are dull.
        value: range of the luma, 0-255.
    """
    sat = min(1.0, rng.exponential(saturation))
    # Warm hues, as of walls and wood, are more common; greens and purples are rarer.
    hue = rng.normal(0.09, 0.06) % 1 if rng.random() < 0.4 else rng.random()
    r, g, b = colorsys.hsv_to_rgb(hue, sat, 1.0)
    return with_luminance((255 * r, 255 * g, 255 * b), between(rng, *value))


def to_bytes(array: np.ndarray) -> ByteArray:
    """Round and clip to 0-255, uint8."""
    rounded = np.rint(array)
    np.maximum(rounded, 0, out=rounded)
    return np.minimum(rounded, 255, out=rounded).astype(np.uint8)


def _spectral(rng: Rng, power: float) -> np.ndarray:
    """Return a wrapping field with amplitude spectrum 1/f^power, mean 0, standard deviation 1."""
    fy = np.fft.fftfreq(SIDE)[:, None]
    fx = np.fft.rfftfreq(SIDE)[None]
    f = np.hypot(fx, fy)
    f[0, 0] = 1
    amplitude = f**-power
    amplitude[0, 0] = 0
    phase = np.exp(2j * np.pi * rng.random(f.shape))
    values = np.fft.irfft2(amplitude * phase, (SIDE, SIDE))
    return values / values.std()


def _leaves(rng: Rng) -> ByteArray:
    """Draw overlapping leaves, the lighter ones on top; wraps around."""
    image = np.full((SIDE, SIDE), 30, np.uint8)
    count = 5000
    for i in range(count):
        x, y = (int(v) for v in rng.integers(0, SIDE, 2))
        a = int(rng.integers(8, 26))
        axes = (a, max(2, int(a * rng.uniform(0.2, 0.5))))
        angle = int(rng.integers(0, 360))
        gray = int(np.clip(40 + 150 * i / count + rng.normal(0, 28), 0, 255))
        for dx in (0, SIDE if x < 32 else -SIDE if x > SIDE - 32 else 0):
            for dy in (0, SIDE if y < 32 else -SIDE if y > SIDE - 32 else 0):
                cv2.ellipse(image, (x + dx, y + dy), axes, angle, 0, 360, gray, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (3, 3), 0)


@lru_cache(maxsize=1)
def _bank() -> dict[str, ByteArray]:
    """Return the gray noise fields, uint8 with mean 128 (except "leaves" and "veins")."""
    rng = np.random.default_rng(20240817)
    cloud = _spectral(rng, 1.7)
    bank = {
        "smooth": to_bytes(128 + 45 * _spectral(rng, 2.6)),
        "cloud": to_bytes(128 + 45 * cloud),
        "grain": to_bytes(128 + 40 * _spectral(rng, 1.0)),
        "speckle": to_bytes(128 + 40 * _spectral(rng, 0.25)),
        "leaves": _leaves(rng),
        "veins": to_bytes(255 * (1 - np.minimum(1, np.abs(_spectral(rng, 1.9)) * 2.2)) ** 2),
    }
    # Padded with their beginning, so that most cuts are a single slice.
    bank = {kind: np.pad(values, ((0, 640), (0, 640)), "wrap") for kind, values in bank.items()}
    for values in bank.values():
        values.flags.writeable = False
    return bank


@lru_cache(maxsize=1)
def sensor_noise() -> ByteArray:
    """Return noise `(SIDE, SIDE, 3)` uint8, mean 128, deviation 32, correlated across channels."""
    rng = np.random.default_rng(20240818)
    gray = rng.standard_normal((SIDE, SIDE, 1), np.float32)
    color = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE, 3), np.float32), (3, 3), 0.8)
    noise = 0.8 * gray + 0.6 * color / color.std()
    out = to_bytes(128 + 32 * noise / noise.std())
    out.flags.writeable = False
    return out


def noise(rng: Rng, kind: str, height: int, width: int, *, zoom: float = 1.0) -> ByteArray:
    """Cut `(height, width)` uint8 from a random place of a noise field.

    Args:
        rng: the random generator.
        kind: one of `FIELDS`.
        height: height of the result.
        width: width of the result.
        zoom: magnification of the field.
    """
    bank = _bank()[kind]
    h, w = max(2, round(height / zoom)), max(2, round(width / zoom))
    y, x = int(rng.random() * SIDE), int(rng.random() * SIDE)
    if y + h > bank.shape[0] or x + w > bank.shape[1]:
        repeats = -(-(y + h) // SIDE), -(-(x + w) // SIDE)
        part = np.tile(bank[:SIDE, :SIDE], repeats)[y : y + h, x : x + w]
    else:
        part = bank[y : y + h, x : x + w]
    if (h, w) != (height, width):
        shrink = h > height
        how = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        return cv2.resize(part, (width, height), interpolation=how)
    return part.copy()


def gradient(rng: Rng, height: int, width: int) -> ByteArray:
    """Return `(height, width)` uint8: a ramp from 0 to 255 in a random direction, or radial."""
    if rng.random() < 0.3:
        x = np.linspace(-1, 1, width, dtype=np.float32) - np.float32(rng.uniform(-1, 1))
        y = np.linspace(-1, 1, height, dtype=np.float32) - np.float32(rng.uniform(-1, 1))
        # Not cv2.magnitude: its last bit depends on the address of the arrays.
        ramp = np.add((x * x)[None], (y * y)[:, None])
        np.sqrt(ramp, out=ramp)
    else:
        angle = rng.uniform(0, 2 * np.pi)
        x = np.linspace(0, np.cos(angle), width, dtype=np.float32)
        y = np.linspace(0, np.sin(angle), height, dtype=np.float32)
        ramp = x[None] + y[:, None]
    return cv2.normalize(ramp, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)


def colorize(gray: ByteArray, stops: list[Color]) -> ByteArray:
    """Map gray values to colors along equally spaced stops; return `(H, W, 3)` uint8."""
    at = [255 * k / (len(stops) - 1) for k in range(len(stops))]
    table = np.empty((256, 1, 3))
    for channel, values in enumerate(zip(*stops, strict=True)):
        table[:, 0, channel] = np.interp(_LEVELS, at, values)
    return cv2.applyColorMap(gray, to_bytes(table))


def shades(color: Color, *, contrast: float) -> list[Color]:
    """Return stops for `colorize`: shadow, color, light; contrast as a fraction of the luma."""
    dark = with_luminance(color, luminance(color) * max(0.0, 1 - contrast))
    luma = luminance(color)
    light = with_luminance(color, min(255.0, luma * (1 + contrast)))
    # Shadows are bluish, light is warm.
    dark = (dark[0] * 0.97, dark[1], min(255.0, dark[2] * 1.04))
    return [dark, color, light]


def _joints(gray: ByteArray, rng: Rng, *, row: int, column: int, shifted: bool) -> None:
    """Draw bricks or tiles into a gray field: each with its own shade, joints between them."""
    height, width = gray.shape
    rows, columns = height // row + 2, width // column + 2
    shade = to_bytes(128 + rng.uniform(0, 22) * rng.standard_normal((rows, columns)))
    big = cv2.resize(shade, (columns * column, rows * row), interpolation=cv2.INTER_NEAREST)
    joint = int(rng.choice((30, 60, 200, 235)))
    thick = max(1, round(row * rng.uniform(0.02, 0.12)))
    for i in range(rows):
        band = big[i * row : (i + 1) * row]
        if shifted and i % 2:
            band[:] = np.roll(band, column // 2, axis=1)
        start = column // 2 if shifted and i % 2 else 0
        for j in range(thick):
            band[:, start + j :: column] = joint
        band[:thick] = joint
    cv2.addWeighted(big[:height, :width], 0.8, gray, 0.5, -0.3 * 128, dst=gray)


MATERIALS = ("plaster", "brick", "tiles", "planks", "panels", "shutter", "marble", "fabric")


def material(rng: Rng, height: int, width: int, *, kind: str | None = None) -> ByteArray:
    """Draw a flat wall, floor or board, `(height, width, 3)` uint8; default: a random kind."""
    kind = str(rng.choice(MATERIALS)) if kind is None else kind
    contrast = rng.uniform(0.15, 0.6)
    color = random_color(rng, saturation=0.2, value=(25, 225))
    if kind == "brick":
        gray = noise(rng, "grain", height, width)
        row = int(rng.integers(10, 30))
        _joints(gray, rng, row=row, column=int(row * rng.uniform(2, 3.5)), shifted=True)
        if rng.random() < 0.6:
            color = with_luminance((170, 85, 60), rng.uniform(50, 150))
    elif kind in ("tiles", "panels"):
        gray = noise(rng, "cloud", height, width)
        cv2.addWeighted(gray, 0.3, gray, 0, 90, dst=gray)
        row = int(rng.integers(18, 60) if kind == "tiles" else rng.integers(80, 220))
        column = int(row * rng.uniform(0.8, 2.2))
        _joints(gray, rng, row=row, column=column, shifted=rng.random() < 0.2)
    elif kind in ("planks", "fabric"):
        # Grain runs along the wood: a stretched field.
        gray = cv2.resize(noise(rng, "grain", height, max(2, width // 12)), (width, height))
        if kind == "planks":
            row = int(rng.integers(16, 60))
            _joints(gray, rng, row=row, column=int(row * rng.uniform(5, 12)), shifted=True)
            if rng.random() < 0.6:
                color = with_luminance((150, 105, 65), rng.uniform(40, 180))
        else:
            cv2.addWeighted(gray, 0.5, noise(rng, "speckle", height, width), 0.5, 0, dst=gray)
    elif kind == "shutter":
        period = int(rng.integers(6, 22))
        wave = 128 + rng.uniform(20, 90) * np.sin(np.arange(height) * (2 * np.pi / period))
        slats = to_bytes(wave)[:, None]
        gray = cv2.addWeighted(
            np.repeat(slats, width, 1), 0.85, noise(rng, "smooth", height, width), 0.3, -19
        )
    elif kind == "marble":
        veins = noise(rng, "veins", height, width, zoom=rng.uniform(1, 3))
        cloud = noise(rng, "cloud", height, width, zoom=2)
        gray = cv2.addWeighted(cloud, 0.6, veins, rng.uniform(-0.5, 0.3), 50)
        contrast *= 0.6
    else:
        gray = noise(rng, str(rng.choice(("cloud", "grain", "smooth"))), height, width, zoom=1.5)
        contrast *= 0.6
    return colorize(gray, shades(color, contrast=contrast))
