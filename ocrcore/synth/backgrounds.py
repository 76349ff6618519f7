"""Backgrounds: procedural rooms, streets, walls and clutter, and the user's own images.

A scene is built from planes in perspective. Planes that text could be attached to are returned as
`Surface`s, so that signs share the perspective of their wall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from ocrcore.images import ImageError, find_images, read_image
from ocrcore.pages import ByteArray
from ocrcore.synth.fonts import split_of
from ocrcore.synth.shapes import (
    box,
    fill,
    icon,
    lights,
    over,
    paint,
    person,
    plant,
    pole,
    rounded,
    window,
)
from ocrcore.synth.textures import (
    Color,
    Rng,
    between,
    colorize,
    gradient,
    luminance,
    material,
    noise,
    random_color,
    shades,
    to_bytes,
    with_luminance,
)
from ocrcore.synth.warps import mapped, rotation, shift, warp

_LONGEST = 1600  # maximum side of a cached user's image, pixels


@dataclass(frozen=True)
class Surface:
    """A plane of the scene that text can lie on.

    Attributes:
        homography: `(3, 3)` float64, from the plane's own pixels to the image's.
        region: `(N, 2)` float32, polygon of the image that it covers (if nothing is in front).
    """

    homography: np.ndarray
    region: np.ndarray


def plain_ground(rng: Rng, height: int, width: int) -> ByteArray:
    """Draw a flat, two-colored or shaded background, `(height, width, 3)` uint8."""
    first = random_color(rng, saturation=0.35, value=(10, 245))
    kind = int(rng.integers(0, 3))
    image = np.empty((height, width, 3), np.uint8)
    image[:] = to_bytes(np.array(first))
    if kind == 0:
        return image
    shift = rng.uniform(20, 90) * (1 if luminance(first) < 128 else -1)
    second = with_luminance(
        random_color(rng, saturation=0.35, value=(100, 101)), luminance(first) + shift
    )
    if kind == 1:
        return colorize(gradient(rng, height, width), [first, second])
    angle = rng.uniform(0, 2 * np.pi)
    ahead = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-ahead[1], ahead[0]])
    middle = np.array([width, height]) * rng.uniform(0.3, 0.7, 2)
    far = 2.0 * (height + width)
    corners = middle + far * np.stack([-across, across, across + ahead, ahead - across])
    paint(image, corners, second)
    return image


def _clutter(rng: Rng, image: ByteArray, count: int, *, least: float, most: float) -> None:
    """Draw overlapping things, mostly small ones, as in any view of a shop or a street."""
    height, width = image.shape[:2]
    sizes = least * (most / least) ** (rng.random(count) ** 1.6)
    for size in np.sort(sizes)[::-1].tolist():
        x, y = between(rng, 0, width), between(rng, 0, height)
        w, h = size * between(rng, 0.4, 1.4), size * between(rng, 0.4, 1.4)
        color = random_color(rng, saturation=0.18, value=(8, 235))
        kind = rng.random()
        if kind < 0.55:
            points = box(x, y, x + w, y + h)
            if rng.random() < 0.4:
                points = points + rng.normal(0, 0.1 * size, (4, 2))
        elif kind < 0.8:
            points = rounded(x, y, x + w, y + h, size)
        else:
            n = int(rng.integers(5, 10))
            angle = np.sort(rng.uniform(0, 2 * np.pi, n))
            radius = size * rng.uniform(0.3, 0.7, n)
            points = np.array([x, y]) + radius[:, None] * np.stack(
                [np.cos(angle), np.sin(angle)], 1
            )
        where = window(points, height, width)
        if where is None:
            continue
        x0, y0, x1, y1 = where
        if size > 24 and rng.random() < 0.7:
            shifted = np.add(points, 0.06 * size, dtype=np.float64)
            paint(image, shifted, (0.0, 0.0, 0.0), alpha=0.4)
            mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
            fill(mask, points - (x0, y0), 255)
            if rng.random() < 0.5:
                gray = gradient(rng, y1 - y0, x1 - x0)
            else:
                gray = noise(rng, "cloud", y1 - y0, x1 - x0, zoom=between(rng, 0.5, 2))
            over(image[y0:y1, x0:x1], mask, colorize(gray, shades(color, contrast=0.5)))
        else:
            paint(image, points, color)


def _sky(rng: Rng) -> Color:
    """Draw a sky color: mostly gray or blue, sometimes an evening color."""
    tints = (
        (150.0, 185.0, 230.0),
        (205.0, 210.0, 216.0),
        (110.0, 160.0, 220.0),
        (225.0, 195.0, 170.0),
        (190.0, 200.0, 215.0),
    )
    return with_luminance(tints[int(rng.integers(0, len(tints)))], rng.uniform(110, 250))


def _glass(rng: Rng, height: int, width: int) -> ByteArray:
    """Draw what is seen through or in a pane: a dark shop interior, or the reflected sky."""
    if rng.random() < 0.35:
        sky = _sky(rng)
        return colorize(noise(rng, "smooth", height, width), shades(sky, contrast=0.4))
    dark = random_color(rng, saturation=0.15, value=(8, 80) if rng.random() < 0.6 else (60, 210))
    inside = colorize(noise(rng, "cloud", height, width), shades(dark, contrast=0.6))
    _clutter(rng, inside, int(rng.integers(6, 30)), least=5, most=max(8.0, height / 2))
    if rng.random() < 0.5:
        where = rng.uniform(0, 1, (int(rng.integers(2, 8)), 2)) * (width, height * 0.5)
        lights(rng, inside, where, rng.uniform(1.5, 5))
    return cv2.blur(inside, (int(rng.integers(1, 6)),) * 2)


def _furnish(rng: Rng, wall: ByteArray, *, shop: bool) -> None:
    """Draw windows, doors, shop fronts, frames and ledges onto a flat wall."""
    height, width = wall.shape[:2]
    at = rng.uniform(0, 0.1) * width
    while at < width * 0.95:
        wide = height * rng.uniform(0.4, 1.6)
        kind = rng.random()
        if shop and kind < 0.5:  # a shop front with a fascia above
            top, low = height * rng.uniform(0.3, 0.5), height * rng.uniform(0.93, 1)
            x0, y0, x1, y1 = (int(v) for v in (at, top, min(width, at + wide), low))
            if x1 - x0 > 8 and y1 - y0 > 8:
                wall[y0:y1, x0:x1] = _glass(rng, y1 - y0, x1 - x0)
                frame = random_color(rng, saturation=0.15, value=(10, 220))
                for post in np.linspace(x0, x1, int(rng.integers(2, 5))):
                    paint(wall, box(post - 2, y0, post + 2, y1), frame)
                band = height * rng.uniform(0.08, 0.2)
                fascia = random_color(rng, saturation=0.25, value=(10, 240))
                paint(wall, box(x0 - 4, y0 - band, x1 + 4, y0), fascia)
                paint(wall, box(x0 - 4, y0 - 2, x1 + 4, y0 + 2), (20.0, 20.0, 20.0), alpha=0.6)
        elif kind < 0.75:  # rows of windows
            wide = min(wide, height * 0.8)
            pane_h, pane_w = height * rng.uniform(0.1, 0.25), height * rng.uniform(0.08, 0.25)
            gap = rng.uniform(1.2, 1.9)
            # One view behind all panes; each reflects the sky a little differently.
            glass = _glass(rng, height, max(4, int(wide + pane_w)))
            frame = random_color(rng, saturation=0.1, value=(30, 240))
            h, w = max(4, int(pane_h)), max(4, int(pane_w))
            for y in np.arange(height * 0.05, height * 0.8, pane_h * gap).astype(int):
                for x in np.arange(at, at + wide, pane_w * gap).astype(int):
                    pane = glass[y : y + h, x - int(at) : x - int(at) + w]
                    part = wall[y : y + pane.shape[0], x : x + pane.shape[1]]
                    pane = pane[: part.shape[0], : part.shape[1]]
                    if pane.size:
                        paint(wall, box(x - 2, y - 2, x + w + 2, y + h + 3), frame)
                        part[:] = cv2.convertScaleAbs(pane, None, rng.uniform(0.6, 1.1), 0)
        elif kind < 0.85:  # a door
            low, top = height, height * rng.uniform(0.45, 0.6)
            wide = (low - top) * 0.5
            color = random_color(rng, saturation=0.3, value=(15, 200))
            paint(wall, box(at - 3, top - 3, at + wide + 3, low), with_luminance(color, 40))
            paint(wall, box(at, top, at + wide, low), color)
            for share in (0.1, 0.55):
                y = top + (low - top) * share
                paint(
                    wall,
                    box(at + wide * 0.15, y, at + wide * 0.85, y + (low - top) * 0.35),
                    with_luminance(color, luminance(color) * 0.8),
                )
        else:  # a framed picture or poster, or bare wall
            wide = height * rng.uniform(0.2, 0.5)
            if rng.random() < 0.6:
                y, tall = height * rng.uniform(0.3, 0.5), height * rng.uniform(0.2, 0.4)
                paper = random_color(rng, saturation=0.4, value=(40, 245))
                paint(wall, box(at - 2, y - 2, at + wide + 2, y + tall + 2), (30.0, 30.0, 30.0))
                paint(wall, box(at, y, at + wide, y + tall), paper)
                ink = random_color(rng, saturation=0.5, value=(5, 250))
                size = min(wide, tall) * 0.6
                icon(rng, wall, at + wide * 0.2, y + tall * 0.3, size, ink)
        at += wide + height * rng.uniform(0.05, 0.6)
    shade = to_bytes(np.interp(np.linspace(0, 1, height), (0, 0.5, 1), rng.uniform(150, 255, 3)))
    dim = cv2.cvtColor(np.repeat(shade[:, None], width, 1), cv2.COLOR_GRAY2RGB)
    cv2.multiply(wall, dim, dst=wall, scale=1 / 255)


def _lay(image: ByteArray, flat: ByteArray, matrix: np.ndarray, region: np.ndarray) -> None:
    """Warp a flat image by a homography and draw it over the image within a region."""
    where = window(region, *image.shape[:2])
    if where is None:
        return
    x0, y0, x1, y1 = where
    warped = warp(flat, matrix, where, border=cv2.BORDER_REPLICATE)
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    fill(mask, region - (x0, y0), 255)
    over(image[y0:y1, x0:x1], mask, warped)


def _corridor(rng: Rng, height: int, width: int) -> tuple[ByteArray, list[Surface]]:
    """Draw a view along a mall, corridor or street: walls, far end, floor, ceiling."""
    street = rng.random() < 0.5
    image = np.zeros((height, width, 3), np.uint8)
    vx, vy = width * rng.uniform(0.15, 0.85), height * rng.uniform(0.3, 0.6)
    half_w, half_h = width * rng.uniform(0.07, 0.3), height * rng.uniform(0.07, 0.24)
    up, down = half_h * rng.uniform(0.8, 1.4), half_h * rng.uniform(0.7, 1.1)
    reach = 1.02 * max(vx / half_w, (width - vx) / half_w, vy / up, (height - vy) / down)
    end = np.array([[-half_w, -up], [half_w, -up], [half_w, down], [-half_w, down]])
    vanishing = np.array([vx, vy])
    near, far = reach * end + vanishing, end + vanishing
    surfaces = []

    def plane(corners: np.ndarray, tall: int, deep: int) -> np.ndarray:
        flat = box(0, 0, deep, tall)
        return np.asarray(cv2.getPerspectiveTransform(flat, corners.astype(np.float32)))

    # Ratio of a wall's depth to its height, for a focal length equal to the image's width.
    depth = (reach - 1) * width / ((up + down) * reach)
    tall = 256
    deep = int(np.clip(tall * depth, 256, 1280))

    def spread(corners: list[np.ndarray], kind: str | None) -> None:
        """Cover the floor, the ceiling or the far end with a material."""
        quad = np.array(corners)
        flat = material(rng, 512, 512, kind=kind)
        light = noise(rng, "smooth", 512, 512)
        flat = cv2.multiply(flat, cv2.cvtColor(light, cv2.COLOR_GRAY2RGB), scale=1 / 150)
        _lay(image, flat, plane(quad, 512, 512), quad)

    if street:
        sky = _sky(rng)
        image[:] = colorize(noise(rng, "smooth", height, width), shades(sky, contrast=0.35))
    else:
        kind = str(rng.choice(("plaster", "panels", "tiles")))
        spread([near[0], near[1], far[1], far[0]], kind)
        rows = np.linspace(0.1, 0.9, int(rng.integers(2, 4)))
        for share in rows:
            along = reach * rng.uniform(0.5, 1) / np.arange(1, int(rng.integers(3, 8)))
            along = along[along > 1]
            x = vx + along * (share * 2 - 1) * half_w
            for px, py, k in zip(x, vy - along * up, along, strict=True):
                if 0 <= px < width and 0 <= py < height:
                    lights(rng, image, [[px, py]], 0.04 * k * half_w + 1)
    floor = str(rng.choice(("plaster", "fabric") if street else ("tiles", "marble", "planks")))
    spread([far[3], far[2], near[2], near[3]], floor)
    if street and rng.random() < 0.7:
        for at in np.arange(1.0, reach, rng.uniform(0.5, 1.5)):
            a, b = at, at * 1.25
            mark = np.array([[-0.03 * a, a], [0.03 * a, a], [0.03 * b, b], [-0.03 * b, b]])
            paint(image, mark * (half_w, down) + (vx, vy), (225.0, 225.0, 215.0), alpha=0.7)
    # The far end, then both sides.
    if street:
        size = (max(32, int(2 * half_w)), max(32, int(up + down)))
        haze = material(rng, size[1], size[0])
        _furnish(rng, haze, shop=False)
        haze = cv2.addWeighted(haze, 0.5, haze, 0, 90)
        _lay(
            image,
            haze,
            plane(far, size[1], size[0]),
            far + np.array([[0, rng.uniform(-up, up)], [0, 0], [0, 0], [0, 0]]),
        )
    else:
        spread(list(far), None)
        surfaces.append(Surface(plane(far, int(up + down), int(2 * half_w)), far))
    for side in (0, 1):
        a, b = (near, far) if side == 0 else (far, near)
        left, right = (0, 0) if side == 0 else (1, 1)
        low_left, low_right = (3, 3) if side == 0 else (2, 2)
        quad = np.array([a[left], b[right], b[low_right], a[low_left]])
        matrix = plane(quad, tall, deep)
        kind = str(rng.choice(("plaster", "brick", "panels", "marble", "tiles", "planks")))
        wall = material(rng, tall, deep, kind=kind)
        _furnish(rng, wall, shop=True)
        if not street:
            _lay(image, wall, matrix, quad)
            surfaces.append(Surface(matrix, quad))
            continue
        # Houses of different heights against the sky.
        cuts = np.sort(np.concatenate([[0, 1], rng.uniform(0.1, 0.9, int(rng.integers(1, 4)))]))
        for start, stop in pairwise(cuts):
            part = box(start * deep, tall * rng.uniform(0, 0.6), stop * deep, tall)
            region = mapped(part, matrix)
            _lay(image, wall, matrix, region)
            surfaces.append(Surface(matrix, region))
    for _ in range(int(rng.integers(0, 5))):  # people and plants
        k = rng.uniform(1.3, 1 + reach * 0.5)
        place, foot = vx + rng.uniform(-0.9, 0.9) * k * half_w, vy + k * down
        if rng.random() < 0.7:
            person(rng, image, place, foot, k * down * rng.uniform(0.85, 1.1))
        else:
            crown = k * down * rng.uniform(0.2, 0.45)
            rise = crown * rng.uniform(0.5, 1.6)
            pole(rng, image, place - 0.06 * crown, 0.12 * crown, foot - rise, foot)
            plant(rng, image, place, foot - rise, crown)
    return image, surfaces


def _frontal(rng: Rng, height: int, width: int) -> tuple[ByteArray, list[Surface]]:
    """Draw a wall or shop front seen roughly from the front, perhaps with ground below."""
    h, w = int(height * 1.3), int(width * 1.3)
    wall = material(rng, h, w)
    if rng.random() < 0.75:
        _furnish(rng, wall, shop=rng.random() < 0.7)
    turn = rotation(rng.normal(0, 6), rng.normal(0, 14), rng.normal(0, 3), focal=1.2 * width)
    matrix = shift(width / 2, height / 2) @ turn @ shift(-w / 2, -h / 2)
    image = np.zeros((height, width, 3), np.uint8)
    region = box(0, 0, width, height)
    _lay(image, wall, matrix, region)
    if rng.random() < 0.4:
        top = height * rng.uniform(0.8, 0.95)
        slope = rng.uniform(-0.05, 0.05) * height
        ground = material(rng, 256, 512, kind=str(rng.choice(("tiles", "plaster", "fabric"))))
        quad = np.array(
            [
                [0, top - slope],
                [width, top + slope],
                [width * 1.6, height * 1.1],
                [-width * 0.6, height * 1.1],
            ]
        )
        _lay(
            image,
            ground,
            cv2.getPerspectiveTransform(box(0, 0, 512, 256), quad.astype(np.float32)),
            quad,
        )
        region = np.array([[0, 0], [width, 0], [width, top + slope], [0, top - slope]], np.float32)
        for _ in range(int(rng.integers(0, 3))):
            tall = height * rng.uniform(0.3, 0.7)
            foot = height * rng.uniform(0.95, 1.2)
            person(rng, image, rng.uniform(0, width), foot, tall)
    return image, [Surface(matrix, region)]


def _heap(rng: Rng, height: int, width: int) -> tuple[ByteArray, list[Surface]]:
    """Draw overlapping things, as on shelves, desks and market stalls."""
    image = material(rng, height, width)
    size = 0.6 * min(height, width)
    _clutter(rng, image, int(rng.integers(30, 160)), least=8, most=size)
    return image, []


def _nature(rng: Rng, height: int, width: int) -> tuple[ByteArray, list[Surface]]:
    """Draw sky, hedges, grass and a path."""
    sky = _sky(rng)
    image = colorize(noise(rng, "smooth", height, width), shades(sky, contrast=0.3))
    line = height * rng.uniform(0.1, 0.6)
    rest = height - int(line)
    green = with_luminance((90, 125, 60), rng.uniform(40, 130))
    kind = str(rng.choice(("leaves", "grain", "speckle")))
    grass = noise(rng, kind, rest, width, zoom=rng.uniform(0.4, 1.5))
    image[height - rest :] = colorize(grass, shades(green, contrast=0.8))
    for _ in range(int(rng.integers(2, 8))):
        size = height * rng.uniform(0.08, 0.35)
        plant(rng, image, rng.uniform(0, width), line + rng.uniform(-0.3, 0.6) * size, size)
    if rng.random() < 0.6:
        x = rng.uniform(0, width, 4) * (0.3, 0.3, 1, 1) + (width * 0.3, width * 0.35, 0, 0)
        quad = np.array(
            [[x[0], line], [x[0] + 20, line], [x[2] + 200, height + 1], [x[2] - 100, height + 1]]
        )
        path = material(rng, 256, 256, kind=str(rng.choice(("tiles", "plaster", "planks"))))
        _lay(
            image,
            path,
            cv2.getPerspectiveTransform(box(0, 0, 256, 256), quad.astype(np.float32)),
            quad,
        )
    for _ in range(int(rng.integers(0, 4))):
        wide = width * rng.uniform(0.01, 0.05)
        pole(rng, image, rng.uniform(0, width), wide, -5, height * rng.uniform(0.5, 1.1))
    return image, []


def _close(rng: Rng, height: int, width: int) -> tuple[ByteArray, list[Surface]]:
    """Draw a surface that fills the image: paper, wood, stone, cloth."""
    image = material(rng, height, width)
    zoom = rng.uniform(1, 2.5)
    part = image[: int(height / zoom), : int(width / zoom)]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC), []


_SCENES = (
    (_corridor, 0.44),
    (_frontal, 0.3),
    (_heap, 0.06),
    (_nature, 0.1),
    (_close, 0.1),
)


def scene_ground(rng: Rng, height: int, width: int) -> tuple[ByteArray, list[Surface]]:
    """Draw a procedural, photo-like image.

    Args:
        rng: the random generator.
        height: height of the image.
        width: width of the image.

    Returns:
        image: `(height, width, 3)` uint8, RGB.
        surfaces: planes that text can lie on, the front ones last; may be empty.
    """
    build = _SCENES[int(np.searchsorted(np.cumsum([p for _, p in _SCENES]), rng.random()))][0]
    image, surfaces = build(rng, height, width)
    rough = rng.random()
    if rough < 0.35:  # out of focus
        sigma = float(rng.uniform(0.8, 4)) * height / 640
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    elif rough < 0.6:
        image = cv2.blur(image, (3, 3))
    if rng.random() < 0.7:  # dirt and uneven light everywhere
        dirt = noise(rng, str(rng.choice(("cloud", "smooth"))), height, width, zoom=2)
        image = cv2.multiply(image, cv2.cvtColor(dirt, cv2.COLOR_GRAY2RGB), scale=1 / 128)
        if rng.random() < 0.5:
            image = cv2.addWeighted(image, 0.8, image, 0, 20)
    return image, surfaces


def find_backgrounds(
    roots: Sequence[str], *, split: str | None = None
) -> tuple[list[Path], dict[str, str]]:
    """List the user's images.

    Args:
        roots: files and folders.
        split: keep only those whose file name hashes into "train", "validation" or "test".

    Returns:
        paths: sorted, readable by OpenCV judged by their headers.
        problems: path to reason, for files that are left out.

    Raises:
        ImageError: a root does not exist, or no image is left.
    """
    paths, problems = [], {}
    for path in find_images(list(roots)) if roots else []:
        if split is not None and split_of(path.name) != split:
            continue
        try:
            fine = path.stat().st_size > 0 and cv2.haveImageReader(str(path))
            reason = "empty, or not an image that OpenCV can read"
        except OSError as error:
            fine, reason = False, str(error.strerror or error)
        if fine:
            paths.append(path)
        else:
            problems[str(path)] = reason
    if roots and not paths:
        known = "; ".join(f"{k}: {v}" for k, v in list(problems.items())[:5])
        raise ImageError(
            f"no usable background image in {', '.join(roots)} for split {split!r}"
            + (f" ({known})" if known else "")
        )
    return paths, problems


@lru_cache(maxsize=48)
def _picture(path: str) -> ByteArray:
    """Read a user's image, scaled down to `_LONGEST`; read-only because it is cached."""
    image = read_image(path)
    scale = _LONGEST / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image.flags.writeable = False
    return image


def picture_ground(rng: Rng, path: str | Path, height: int, width: int) -> ByteArray:
    """Return a random part of a user's image, maybe mirrored, `(height, width, 3)` uint8.

    Raises:
        ImageError: the image cannot be read; the message names it.
    """
    image = _picture(str(path))
    h, w = image.shape[:2]
    part = min(h / height, w / width) * rng.uniform(0.6, 1)
    ch, cw = max(1, int(height * part)), max(1, int(width * part))
    y, x = int(rng.integers(0, h - ch + 1)), int(rng.integers(0, w - cw + 1))
    how = cv2.INTER_AREA if part > 1 else cv2.INTER_LINEAR
    image = cv2.resize(image[y : y + ch, x : x + cw], (width, height), interpolation=how)
    return cv2.flip(image, 1) if rng.random() < 0.5 else image
