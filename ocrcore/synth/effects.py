"""Effects on a page after the text is drawn: light, occlusion, lens, sensor, compression.

Geometry never changes here, so labels stay exact. The loss of legibility is returned as a blur, or
measured in the finished image by the caller.
"""

from __future__ import annotations

import cv2
import numpy as np

from ocrcore.pages import ByteArray
from ocrcore.synth.config import Chance, Effects
from ocrcore.synth.shapes import person, plant, pole
from ocrcore.synth.textures import SIDE, Rng, between, gradient, noise, random_color, sensor_noise


def draw(rng: Rng, chance: Chance) -> float | None:
    """Draw the strength of an effect on this page; None if it does not occur."""
    happens, strength = rng.random() < chance.probability, between(rng, chance.low, chance.high)
    return strength if happens else None


def uneven_light(rng: Rng, image: ByteArray, darkest: float) -> ByteArray:
    """Multiply the light by a ramp, a soft blob or a hard-edged shadow down to `darkest`."""
    height, width = image.shape[:2]
    kind = rng.random()
    if kind < 0.5:
        shade = gradient(rng, height, width)
    elif kind < 0.75:
        shade = noise(rng, "smooth", height, width, zoom=3)
    else:
        shade = np.full((height, width), 255, np.uint8)
        x, y = rng.uniform(0, width, 2), rng.uniform(0, height, 2)
        far = 2 * (width + height)
        angle = rng.uniform(0, 2 * np.pi)
        ahead = far * np.array([np.cos(angle), np.sin(angle)])
        a, b = np.array([x[0], y[0]]), np.array([x[1], y[1]])
        cv2.fillConvexPoly(
            shade,
            np.rint([a - ahead, a + ahead, b + ahead, b - ahead]).astype(int).astype(np.int32),
            0,
        )
        shade = cv2.blur(shade, (int(rng.integers(3, 40)),) * 2)
    shade = cv2.convertScaleAbs(shade, None, 1 - darkest, 255 * darkest)
    return cv2.multiply(image, cv2.cvtColor(shade, cv2.COLOR_GRAY2RGB), scale=1 / 255)


def glare(rng: Rng, image: ByteArray, level: float) -> ByteArray:
    """Add a bright haze around a random place, as from a lamp or a reflection."""
    height, width = image.shape[:2]
    small = np.zeros((32, 32), np.uint8)
    x, y = (int(v) for v in rng.integers(0, 32, 2))
    cv2.ellipse(
        small,
        (x, y),
        (int(rng.integers(2, 9)), int(rng.integers(2, 9))),
        float(rng.uniform(0, 180)),
        0,
        360,
        min(255.0, 1.5 * level),
        -1,
    )
    haze = cv2.resize(cv2.blur(small, (9, 9)), (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.add(image, cv2.cvtColor(haze, cv2.COLOR_GRAY2RGB))


def occlude(rng: Rng, image: ByteArray, count: int) -> tuple[ByteArray, ByteArray]:
    """Draw objects over the image; return it and `(H, W)` uint8, 255 where they are."""
    height, width = image.shape[:2]
    before, image = image, image.copy()
    for _ in range(count):
        kind = int(rng.integers(0, 4))
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if kind == 0:
            pole(rng, image, x, width * rng.uniform(0.01, 0.04), 0, height)
        elif kind == 1:
            plant(rng, image, x, height * rng.uniform(0.7, 1), height * rng.uniform(0.08, 0.2))
        elif kind == 2:
            person(rng, image, x, height * rng.uniform(1.0, 1.4), height * rng.uniform(0.4, 0.7))
        else:  # cables and twigs
            a = np.array([x, 0.0]), np.array([rng.uniform(0, width), height])
            middle = np.array([rng.uniform(0, width), y])
            t = np.linspace(0, 1, 20)[:, None]
            curve = (1 - t) ** 2 * a[0] + 2 * t * (1 - t) * middle + t**2 * a[1]
            cv2.polylines(
                image,
                [np.rint(curve).astype(np.int32)],
                False,
                random_color(rng, saturation=0.1, value=(5, 120)),
                int(rng.integers(1, 5)),
                cv2.LINE_AA,
            )
    r, g, b = cv2.split(cv2.absdiff(before, image))
    return image, cv2.threshold(cv2.max(cv2.max(r, g), b), 8, 255, cv2.THRESH_BINARY)[1]


def motion(rng: Rng, image: ByteArray, length: float) -> ByteArray:
    """Blur along a line of this length in a random direction."""
    reach = max(1, int(np.ceil(length / 2)))
    side = 2 * reach + 1
    kernel = np.zeros((side, side), np.uint8)
    angle = rng.uniform(0, np.pi)
    end = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    fixed = np.rint((reach + np.array([-end, end])) * 16).astype(int)
    cv2.line(kernel, tuple(fixed[0].tolist()), tuple(fixed[1].tolist()), 255, 1, cv2.LINE_AA, 4)
    weights = kernel.astype(np.float32)
    return cv2.filter2D(image, -1, weights / weights.sum())


def tone(rng: Rng, image: ByteArray, strength: float) -> ByteArray:
    """Change contrast, brightness, gamma and white balance."""
    levels = np.arange(256)[:, None] / 255
    gamma = np.exp(rng.normal(0, 0.22 * strength))
    gain = 1 + rng.normal(0, 0.12) * strength
    lift = rng.normal(0, 0.05) * strength
    cast = 1 + rng.normal(0, 0.07, 3) * strength
    table = ((levels**gamma - 0.5) * gain + 0.5 + lift) * cast
    table = np.clip(np.rint(255 * table), 0, 255).astype(np.uint8)
    return cv2.LUT(image, table[None])


def add_noise(rng: Rng, image: ByteArray, sigma: float) -> ByteArray:
    """Add sensor noise from a precomputed field."""
    bank = sensor_noise()
    height, width = image.shape[:2]
    if height > SIDE or width > SIDE:
        bank = np.tile(bank, (-(-height // SIDE) + 1, -(-width // SIDE) + 1, 1))
    y = int(rng.integers(0, bank.shape[0] - height + 1))
    x = int(rng.integers(0, bank.shape[1] - width + 1))
    part = bank[y : y + height, x : x + width]
    k = sigma / 32
    return cv2.addWeighted(image, 1, part, k, -128 * k)


def photograph(
    rng: Rng, image: ByteArray, effects: Effects
) -> tuple[ByteArray, float, ByteArray | None]:
    """Apply randomly drawn effects to a page.

    Args:
        rng: the random generator.
        image: `(H, W, 3)` uint8, RGB.
        effects: probabilities and strengths.

    Returns:
        image: the finished image, of the same size.
        blur: standard deviation of the total blur in pixels, with motion counted as length / 2.8.
        hidden: `(H, W)` uint8, 255 where objects are in front; None if there are none.
    """
    height, width = image.shape[:2]
    hidden = None
    variance = 0.0
    if (count := draw(rng, effects.occlusion)) is not None:
        image, hidden = occlude(rng, image, max(1, round(count)))
    if (darkest := draw(rng, effects.light)) is not None:
        image = uneven_light(rng, image, darkest)
    if (level := draw(rng, effects.glare)) is not None:
        image = glare(rng, image, level)
    if (sigma := draw(rng, effects.blur)) is not None:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
        variance += sigma**2
    if (length := draw(rng, effects.motion)) is not None:
        image = motion(rng, image, length)
        # The deviation is length / sqrt(12), but all along one axis, which hides more.
        variance += (length / 2.8) ** 2
    left = draw(rng, effects.lowres)
    if left is not None:
        small = (max(1, round(width * left)), max(1, round(height * left)))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        variance += (0.35 / left) ** 2
    if (sigma := draw(rng, effects.noise)) is not None:
        image = add_noise(rng, image, sigma)
    if left is not None:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if (strength := draw(rng, effects.tone)) is not None:
        image = tone(rng, image, strength)
    if (strength := draw(rng, effects.sharpen)) is not None:
        soft = cv2.GaussianBlur(image, (5, 5), 1.2)
        image = cv2.addWeighted(image, 1 + strength, soft, -strength, 0)
    if (quality := draw(rng, effects.jpeg)) is not None:
        _, data = cv2.imencode(
            ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
        )
        image = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return image, float(np.sqrt(variance)), hidden
