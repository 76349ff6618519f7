"""Speed of drawing word crops, and of the drawing libraries, on one core.

    python benchmarks/synth_words.py [--count 3000] [--out exp/benchmarks/synth_words.json]

Two tables. The first is crops per second of `ocrcore.synth.words` at a height of 32 pixels, from a
cold process and with warm caches (with new indices each time), and of TextRecognitionDataGenerator
if it is installed. The second is microseconds of the drawing libraries, over all bundled fonts;
freetype-py and skia-python are included if they are installed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ocrcore.synth.fonts import bundled_fonts
from ocrcore.synth.glyphs import render_run
from ocrcore.synth.words import WordConfig, WordRenderer

WORD = "Garden"
SIZE = 30


def rate(make: Callable[[int], object], start: int, count: int) -> float:
    """Return calls of `make` per second over the indices from `start`."""
    begun = time.perf_counter()
    for index in range(start, start + count):
        make(index)
    return count / (time.perf_counter() - begun)


def words(count: int) -> dict[str, float]:
    """Return crops per second."""
    renderer = WordRenderer(WordConfig(height=32))
    out = {"ocrjax, first crops of a cold process": rate(renderer.__getitem__, 0, count)}
    rate(renderer.__getitem__, count, 3 * count)
    ours, theirs = [], []
    peer = trdg()
    for turn in range(5):
        ours.append(rate(renderer.__getitem__, (4 + turn) * count, count))
        if peer is not None:
            theirs.append(rate(peer, 0, count // 10))
    out["ocrjax, warm (median of 5)"] = median(ours)
    if theirs:
        out["TextRecognitionDataGenerator (median of 5)"] = median(theirs)
        out["ratio of medians"] = median(ours) / median(theirs)
    return out


def trdg() -> Callable[[int], object] | None:
    """Return TextRecognitionDataGenerator's default generator, if it is installed and works."""
    try:
        from trdg.generators import GeneratorFromDict

        generator = GeneratorFromDict(size=32)
        next(generator)
    except Exception as error:  # not installed, or broken by a newer Pillow
        print(f"TextRecognitionDataGenerator is left out: {error!r}")
        return None
    return lambda index: next(generator)


def microseconds(call: Callable[[str], object], paths: list[str]) -> float | None:
    """Return the median over fonts of the best of five calls; None if a font cannot be opened."""
    try:
        times = []
        for path in paths:
            best = float("inf")
            for _ in range(5):
                begun = time.perf_counter()
                call(path)
                best = min(best, time.perf_counter() - begun)
            times.append(best * 1e6)
        return median(times)
    except Exception:
        return None


def drawing() -> list[dict[str, object]]:
    """Return one row per library and kind of font file."""
    rows: list[dict[str, object]] = []
    fonts = {font.path: font for font in bundled_fonts() if font.covers(WORD)}
    for suffix in (".ttf", ".woff2"):
        paths = [path for path in fonts if path.endswith(suffix)]

        rows.append(_pillow(paths, suffix))
        rows.append(
            {
                "library": "ocrjax render_run, warm",
                "files": suffix,
                "draw a word": microseconds(lambda p: render_run(WORD, fonts[p], SIZE), paths),
            }
        )
        rows.append(_freetype(paths, suffix))
        rows.append(_skia(paths, suffix))
    return [row for row in rows if len(row) > 2]


def _pillow(paths: list[str], suffix: str) -> dict[str, object]:
    row: dict[str, object] = {"library": "Pillow", "files": suffix}
    faces: dict[str, ImageFont.FreeTypeFont] = {}

    def draw(path: str) -> None:
        sheet = Image.new("L", (6 * SIZE, 2 * SIZE))
        pen = (SIZE, SIZE)
        ImageDraw.Draw(sheet).text(pen, WORD, fill=255, font=faces[path], anchor="ls")
        np.asarray(sheet)

    row["open"] = microseconds(lambda p: faces.update({p: ImageFont.truetype(p, SIZE)}), paths)
    row["draw a word"] = microseconds(draw, paths)
    return row


def _freetype(paths: list[str], suffix: str) -> dict[str, object]:
    row: dict[str, object] = {"library": "freetype-py", "files": suffix}
    try:
        import freetype
    except ImportError:
        return row
    faces: dict[str, object] = {}

    def draw(path: str) -> None:
        face = faces[path]
        face.set_char_size(SIZE * 64)  # type: ignore[attr-defined]
        for character in WORD:
            face.load_char(character, freetype.FT_LOAD_RENDER)  # type: ignore[attr-defined]
            bytes(face.glyph.bitmap.buffer)  # type: ignore[attr-defined]

    row["open"] = microseconds(lambda p: faces.update({p: freetype.Face(p)}), paths)
    row["draw a word"] = microseconds(draw, paths)
    return row


def _skia(paths: list[str], suffix: str) -> dict[str, object]:
    row: dict[str, object] = {"library": "skia-python", "files": suffix}
    try:
        import skia
    except ImportError:
        return row
    faces: dict[str, object] = {}

    def load(path: str) -> None:
        face = skia.Typeface.MakeFromFile(path)
        if face is None:
            raise ValueError(path)
        faces[path] = face

    def draw(path: str) -> None:
        sheet = np.zeros((2 * SIZE, 6 * SIZE, 4), np.uint8)
        face = skia.Font(faces[path], SIZE)
        canvas = skia.Surface(sheet).getCanvas()
        canvas.drawString(WORD, SIZE, SIZE, face, skia.Paint(AntiAlias=True))

    row["open"] = microseconds(load, paths)
    row["draw a word"] = microseconds(draw, paths)
    return row


def main() -> None:
    """Run both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/synth_words.json"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    crops = words(options.count)
    for name, value in crops.items():
        print(f"{name:45} {value:10.1f}")
    rows = drawing()
    print(f"\n{'library':26}{'files':8}{'open, us':>12}{'draw a word, us':>18}")
    for row in rows:
        cells = [row.get(name) for name in ("open", "draw a word")]
        shown = ["-" if cell is None else f"{cell:.1f}" for cell in cells]
        print(f"{row['library']:26}{row['files']:8}{shown[0]:>12}{shown[1]:>18}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"crops_per_second": crops, "drawing_us": rows}, indent=1))


if __name__ == "__main__":
    main()
