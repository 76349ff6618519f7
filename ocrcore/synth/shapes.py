"""Draws things: antialiased polygons, people, poles, plants, icons, text-like patterns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ocrcore.pages import ByteArray
from ocrcore.synth.textures import (
    Color,
    Rng,
    colorize,
    gradient,
    material,
    noise,
    random_color,
    shades,
    sheet,
    with_luminance,
)

_SHIFT = 4  # fractional bits in OpenCV's polygon coordinates
# Quarters of the unit circle: top right, bottom right, bottom left, top left.
_ANGLES = np.linspace(0, np.pi / 2, 6) + np.array([-0.5, 0, 0.5, 1])[:, None] * np.pi
_ARCS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)


def fill(image: ByteArray, points: ArrayLike, color: float | Sequence[float]) -> None:
    """Fill a polygon, given in edge coordinates, with antialiased borders."""
    fixed = np.subtract(points, 0.5, dtype=np.float64)
    fixed *= 1 << _SHIFT
    cv2.fillPoly(image, [np.rint(fixed, out=fixed).astype(np.int32)], color, cv2.LINE_AA, _SHIFT)


def mask_of(points: ArrayLike, height: int, width: int) -> ByteArray:
    """Return the coverage of a polygon in edge coordinates, `(height, width)` uint8."""
    mask = np.zeros((height, width), np.uint8)
    fill(mask, points, 255)
    return mask


def over(ground: ByteArray, alpha: ByteArray, color: Color | ByteArray) -> None:
    """Blend a color, or an image of the same size, over the background in place.

    Args:
        ground: `(H, W, 3)` uint8.
        alpha: `(H, W)` uint8 coverage.
        color: RGB, or `(H, W, 3)` uint8.
    """
    alpha3 = cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB)
    if isinstance(color, tuple):
        r, g, b = (float(min(max(round(value), 0), 255)) for value in color)
        top = cv2.multiply(alpha3, (r, g, b, 0.0), scale=1 / 255)
    else:
        top = cv2.multiply(color, alpha3, scale=1 / 255)
    kept = cv2.multiply(ground, cv2.bitwise_not(alpha3, dst=alpha3), scale=1 / 255)
    cv2.add(kept, top, dst=ground)


def window(points: ArrayLike, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Return the page pixels `(x0, y0, x1, y1)` that a polygon may touch; None if outside."""
    xs, ys = zip(*np.asarray(points).tolist(), strict=True)  # faster than arrays for a few points
    x0, y0 = max(0, math.floor(min(xs)) - 1), max(0, math.floor(min(ys)) - 1)
    x1, y1 = min(width, math.ceil(max(xs)) + 1), min(height, math.ceil(max(ys)) + 1)
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Return the corners of an upright box, clockwise from the top left, `(4, 2)` float32."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)


def paint(image: ByteArray, points: ArrayLike, color: Color, *, alpha: float = 1.0) -> None:
    """Fill a polygon, optionally translucent."""
    if alpha >= 1:
        fill(image, points, color)
        return
    where = window(points, *image.shape[:2])
    if where is not None:
        x0, y0, x1, y1 = where
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        fill(mask, np.asarray(points) - (x0, y0), round(255 * alpha))
        over(image[y0:y1, x0:x1], mask, color)


def rounded(x0: float, y0: float, x1: float, y1: float, radius: float) -> np.ndarray:
    """Return the outline of a rectangle with rounded corners, `(N, 2)` float32."""
    radius = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    left, top, right, bottom = x0 + radius, y0 + radius, x1 - radius, y1 - radius
    centers = np.array([(right, top), (right, bottom), (left, bottom), (left, top)])
    return (centers[:, None] + radius * _ARCS).reshape(-1, 2).astype(np.float32)


def person(rng: Rng, image: ByteArray, x: float, foot: float, height: float) -> None:
    """Draw a standing or walking person, as seen at the edge of a photo."""
    head = height / rng.uniform(6.5, 8)
    wide = height * rng.uniform(0.1, 0.14)
    top = foot - height
    skin = with_luminance((200, 150, 120), rng.uniform(40, 170))
    coat = random_color(rng, saturation=0.3, value=(10, 190))
    legs = random_color(rng, saturation=0.15, value=(8, 110))
    hair = random_color(rng, saturation=0.15, value=(5, 60))
    neck, hip = top + head * 1.1, top + height * rng.uniform(0.46, 0.55)
    step = wide * rng.uniform(0.2, 1)
    paint(
        image,
        box(x - wide * 0.7, hip - 2, x - wide * 0.1, foot)
        + np.array([[0, 0], [0, 0], [-step, 0], [-step, 0]]),
        legs,
    )
    paint(
        image,
        box(x + wide * 0.05, hip - 2, x + wide * 0.7, foot)
        + np.array([[0, 0], [0, 0], [step, 0], [step, 0]]),
        with_luminance(legs, 0.7 * legs[1]),
    )
    body = rounded(x - wide, neck, x + wide, hip + wide * 0.3, wide * 0.6)
    where = window(body, *image.shape[:2])
    if where is not None:
        x0, y0, x1, y1 = where
        mask = mask_of(body - (x0, y0), y1 - y0, x1 - x0)
        cloth = colorize(noise(rng, "cloud", y1 - y0, x1 - x0), shades(coat, contrast=0.6))
        over(image[y0:y1, x0:x1], mask, cloth)
    arm = wide * 0.4
    dark = with_luminance(coat, max(0.0, 0.6 * coat[1]))
    for side in (-1, 1):
        start = x + side * wide
        paint(image, rounded(start - arm / 2, neck + arm, start + arm / 2, hip + arm, arm), dark)
    center = (round(x), round(top + head / 2))
    axes = (max(1, round(head * 0.4)), max(1, round(head * 0.55)))
    cv2.ellipse(image, center, axes, 0, 0, 360, skin, -1, cv2.LINE_AA)
    cv2.ellipse(
        image, (center[0], center[1] - axes[1] // 3), axes, 0, 180, 360, hair, -1, cv2.LINE_AA
    )


def pole(rng: Rng, image: ByteArray, x: float, wide: float, y0: float, y1: float) -> None:
    """Draw a column or post that is lit from one side."""
    where = window(box(x, y0, x + wide, y1), *image.shape[:2])
    if where is None:
        return
    a, b, c, d = where
    color = random_color(rng, saturation=0.1, value=(30, 210))
    ramp = np.interp(np.linspace(0, 1, c - a), (0, rng.uniform(0.2, 0.8), 1), (60, 220, 30))
    gray = np.repeat(ramp[None].astype(np.uint8), d - b, 0)
    image[b:d, a:c] = colorize(gray, shades(color, contrast=0.6))


def plant(rng: Rng, image: ByteArray, x: float, y: float, size: float) -> None:
    """Draw a bush or tree top: leaves within a ragged outline."""
    where = window(box(x - size, y - size, x + size, y + size), *image.shape[:2])
    if where is None:
        return
    x0, y0, x1, y1 = where
    h, w = y1 - y0, x1 - x0
    ball = np.zeros((h, w), np.uint8)
    cv2.circle(ball, (round(x - x0), round(y - y0)), max(1, round(size * 0.8)), 160, -1)
    ball = cv2.blur(ball, (max(1, int(size / 3)),) * 2)
    ragged = cv2.addWeighted(ball, 1, noise(rng, "cloud", h, w, zoom=0.7), 0.8, -110)
    _, mask = cv2.threshold(ragged, 60, 255, cv2.THRESH_BINARY)
    green = with_luminance((95, 130, 60), rng.uniform(30, 110))
    gray = noise(rng, "leaves", h, w, zoom=rng.uniform(0.15, 0.5))
    # Darker at the bottom and inside, as under the open sky.
    depth = np.linspace(30, -40, h)[:, None]
    gray = np.clip(gray + depth, 0, 255).astype(np.uint8)
    leaves = colorize(gray, shades(green, contrast=0.8))
    over(image[y0:y1, x0:x1], cv2.blur(mask, (3, 3)), leaves)


def lights(rng: Rng, image: ByteArray, centers: ArrayLike, size: float) -> None:
    """Draw lamps with their bloom."""
    for x, y in np.asarray(centers):
        reach = size * 4
        where = window(box(x - reach, y - reach, x + reach, y + reach), *image.shape[:2])
        if where is None:
            continue
        x0, y0, x1, y1 = where
        small = np.zeros((y1 - y0, x1 - x0), np.uint8)
        center, axes = (
            (round(x - x0), round(y - y0)),
            (max(1, round(size)), max(1, round(size / 2))),
        )
        cv2.ellipse(small, center, axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
        bloom = cv2.blur(
            cv2.blur(small, (max(1, int(size * 2)),) * 2), (max(1, int(size * 2)),) * 2
        )
        alpha = cv2.add(small, bloom)
        warm = (255.0, 250.0, float(rng.uniform(200, 255)))
        over(image[y0:y1, x0:x1], alpha, warm)


def icon(rng: Rng, image: ByteArray, x: float, y: float, size: float, color: Color) -> None:
    """Draw a pictogram in a square of this size: arrow, disc, star, person, petals, house..."""
    kind = int(rng.integers(0, 8))
    center = np.array([x + size / 2, y + size / 2])
    if kind == 0:  # an arrow
        shape = np.array(
            [[0, 0.35], [0.55, 0.35], [0.55, 0.1], [1, 0.5], [0.55, 0.9], [0.55, 0.65], [0, 0.65]]
        )
        turn = np.deg2rad(90 * int(rng.integers(0, 4)))
        turned = (shape - 0.5) @ np.array(
            [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
        )
        paint(image, center + size * turned, color)
    elif kind == 1:  # a ring or disc
        thick = -1 if rng.random() < 0.5 else max(1, round(size / 8))
        cv2.circle(
            image,
            tuple(int(v) for v in center),
            max(1, round(size * 0.45)),
            color,
            thick,
            cv2.LINE_AA,
        )
    elif kind in (2, 3):  # a star or polygon
        n = int(rng.integers(3, 9))
        radius = np.where(np.arange(2 * n) % 2, 0.5, 0.22 if kind == 2 else 0.48) * size
        angle = np.arange(2 * n) * np.pi / n + rng.uniform(0, np.pi)
        paint(image, center + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), color)
    elif kind == 4:  # a person
        cv2.circle(
            image,
            (round(center[0]), round(y + size * 0.18)),
            max(1, round(size * 0.14)),
            color,
            -1,
            cv2.LINE_AA,
        )
        paint(
            image,
            rounded(x + size * 0.28, y + size * 0.36, x + size * 0.72, y + size, size * 0.2),
            color,
        )
    elif kind == 5:  # a no-sign
        cv2.circle(
            image,
            tuple(int(v) for v in center),
            max(1, round(size * 0.42)),
            (200, 30, 40),
            max(1, round(size / 9)),
            cv2.LINE_AA,
        )
        a, b = center - size * 0.29, center + size * 0.29
        cv2.line(
            image,
            tuple(int(v) for v in a),
            tuple(int(v) for v in b),
            (200, 30, 40),
            max(1, round(size / 9)),
            cv2.LINE_AA,
        )
    elif kind == 6:  # petals
        for turn in np.linspace(0, 360, int(rng.integers(4, 9)), endpoint=False):
            angle = np.deg2rad(turn)
            at = center + 0.27 * size * np.array([np.cos(angle), np.sin(angle)])
            cv2.ellipse(
                image,
                tuple(int(v) for v in at),
                (max(1, int(size * 0.2)), max(1, int(size * 0.08))),
                turn,
                0,
                360,
                color,
                -1,
                cv2.LINE_AA,
            )
    else:  # a house
        paint(image, box(x + size * 0.2, y + size * 0.5, x + size * 0.8, y + size), color)
        paint(
            image,
            np.array([[x, y + size * 0.5], [x + size * 0.5, y], [x + size, y + size * 0.5]]),
            color,
        )


def distractor(rng: Rng, height: int, width: int) -> tuple[ByteArray, ByteArray]:
    """Draw a flat object that has strokes like text, but is not text.

    Stripes, railings, grids, bar codes, rows of icons, books, scribbles, framed pictures, bricks.

    Args:
        rng: the random generator.
        height: height of the page.
        width: width of the page.

    Returns:
        picture: `(h, w, 3)` uint8, RGB.
        alpha: `(h, w)` uint8.
    """
    kind = int(rng.integers(0, 8))
    w = max(8, int(width * rng.uniform(0.06, 0.35)))
    h = max(8, int(height * rng.uniform(0.04, 0.22)))
    low = random_color(rng, value=(5, 245))
    high = random_color(rng, value=(5, 245))
    flat = sheet(h, w, low)
    alpha = np.full((h, w), 255, np.uint8)
    if kind == 0:  # stripes, a railing
        period = rng.uniform(4, 24)
        share = rng.uniform(0.2, 0.6)
        through = rng.random() < 0.5
        if through:
            alpha[:] = 0
        for at in np.arange(0, w, period):
            bar = box(at, 0, at + period * share, h)
            fill(alpha, bar, 255)
            paint(flat, bar, high)
        if through:
            paint(flat, box(0, 0, w, h * 0.08), high)
            fill(alpha, box(0, 0, w, h * 0.08), 255)
    elif kind == 1:  # a grid: vents, windows, wire
        px, py = rng.uniform(8, 40, 2)
        share = rng.uniform(0.15, 0.6)
        for ax in np.arange(0, w, px):
            for ay in np.arange(0, h, py):
                paint(flat, box(ax, ay, ax + px * (1 - share), ay + py * (1 - share)), high)
    elif kind == 2:  # bars of random widths
        at = 0.0
        while at < w:
            wide = rng.uniform(1, 6)
            paint(flat, box(at, 0, at + wide, h), high)
            at += wide + rng.uniform(1, 6)
    elif kind == 3:  # a row of icons
        size = min(h, w, rng.uniform(14, 60))
        for at in np.arange(0, w - size + 1, size * rng.uniform(1.1, 1.8)):
            icon(rng, flat, at, rng.uniform(0, max(0.01, h - size)), size, high)
    elif kind == 4:  # bricks, tiles, slats
        name = str(rng.choice(("brick", "tiles", "shutter", "planks")))
        flat = material(rng, h, w, kind=name)
    elif kind == 5:  # bottles, books: upright things in a row
        flat = sheet(h, w, with_luminance(low, 25))
        at = 0.0
        while at < w:
            wide = rng.uniform(4, 20)
            color = random_color(rng, saturation=0.4, value=(20, 220))
            paint(flat, rounded(at, h * rng.uniform(0, 0.4), at + wide, h, wide / 3), color)
            at += wide + rng.uniform(0, 3)
    elif kind == 6:  # cables, scribbles
        alpha[:] = 0
        flat = sheet(h, w, high)
        for _ in range(int(rng.integers(1, 5))):
            points = np.cumsum(rng.normal(0, 1, (12, 2)), 0)
            points -= points.min(0)
            points *= np.array([w, h]) / np.maximum(points.max(0), 1e-6)
            thick = int(rng.integers(1, 4))
            cv2.polylines(alpha, [points.astype(np.int32)], False, 255, thick, cv2.LINE_AA)
    else:  # a picture in a frame
        flat = colorize(gradient(rng, h, w), [low, high])
        size = min(h, w) * 0.6
        ink = random_color(rng, value=(5, 245))
        icon(rng, flat, w / 2 - size / 2, h / 2 - size / 2, size, ink)
    shade = noise(rng, "smooth", h, w)
    return cv2.multiply(flat, cv2.cvtColor(shade, cv2.COLOR_GRAY2RGB), scale=1 / 150), alpha
