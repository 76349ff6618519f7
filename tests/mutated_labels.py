"""Makes folders of pictures and word labels as people have them, with the true words.

It shares no code with the readers: forms are written here as their tools write them.
"""

from __future__ import annotations

import csv
import io
import math
import random
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

PLAIN = "Chicken Rice Lamprais EXIT Open24 No.5 a Kottu Bäckerei naïve O'Neil e-mail 24/7 Taxi"
TRICKY = ["12,5", "1,234", "0", "1", "2012", '"Hi"', "Fish, Chips", "1,000,000", "7", "Hi, 5", '"']
ASIAN = ["金氏眼镜", "创于", "ラーメン", "한국", "发票"]
SCRIPTS = ["Latin", "Arabic", "Chinese", "Japanese", "Korean", "Bangla", "Symbols", "Mixed"]


@dataclass
class TrueWord:
    """Outline `[(x, y), ...]`; text None where it is not known or the word does not count."""

    outline: list[tuple[float, float]]
    text: str | None
    care: bool = True


@dataclass
class Folder:
    """What was written.

    `pages` has for each picture that is read its size as viewers show it (height, width) and its
    words; `hidden` the pictures and label files that are not read and must be named; `plain` says
    that nothing about the folder excuses an error.
    """

    root: Path
    form: str
    changes: list[str]
    images: Path
    labels: Path
    pages: dict[str, tuple[tuple[int, int], list[TrueWord]]] = field(default_factory=dict)
    hidden: list[Path] = field(default_factory=list)
    plain: bool = True


def number(rng: random.Random, value: float, form: str) -> str:
    return f"{value:.2f}" if form == "floats" else f"{round(value)}"


def rectangle(rng: random.Random, place: int, *, slanted: bool) -> list[tuple[float, float]]:
    left, top = 10 + 100 * (place % 2) + rng.randint(0, 9), 12 + 36 * (place // 2)
    wide, high = rng.randint(30, 70), rng.randint(10, 20)
    tilt = rng.randint(1, 6) if slanted else 0
    return [
        (left, top),
        (left + wide, top + tilt),
        (left + wide, top + high + tilt),
        (left, top + high),
    ]


def ribbon(rng: random.Random, place: int, points: int) -> list[tuple[float, float]]:
    """An outline along a bent word: half of the points above, the others below, backwards."""
    left, top = 10 + 100 * (place % 2), 16 + 36 * (place // 2)
    wide, high, bend = rng.randint(45, 80), rng.randint(10, 16), rng.uniform(-6, 6)
    above = -(-points // 2)
    out = []
    for count, base, backwards in ((above, top, False), (points - above, top + high, True)):
        row = [
            (left + wide * i / (count - 1), base - bend * math.sin(math.pi * i / (count - 1)))
            for i in range(count)
        ]
        out += row[::-1] if backwards else row
    return [(float(round(x)), float(round(y))) for x, y in out]


def texts_for(rng: random.Random, form: str, count: int) -> list[str]:
    known = PLAIN.split()
    if form in ("mlt", "rctw"):
        known = known + ASIAN
    out = [rng.choice(known) for _ in range(count)]
    for index in range(count):
        if rng.random() < 0.2:
            out[index] = rng.choice(TRICKY)
        elif rng.random() < 0.15:
            out[index] = "###"
    return out


def joined(points: list[tuple[float, float]], separator: str, form: str) -> str:
    rng = random.Random(0)
    return separator.join(number(rng, value, form) for point in points for value in point)


def box_of(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    (left, top), (right, bottom) = points[0], points[2]
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def line_of(rng: random.Random, form: str, place: int, text: str) -> tuple[str, TrueWord]:
    """A line of a label file, and its word."""
    care = text != "###"
    quad = rectangle(rng, place, slanted=True)
    flat = rectangle(rng, place, slanted=False)
    curve = ribbon(rng, place, rng.choice([6, 7, 8, 10, 12, 14, 16]))
    word = TrueWord(quad, text if care else None, care)

    def boxed(line: str) -> tuple[str, TrueWord]:
        return line, TrueWord(flat, word.text, care)

    def curved(line: str) -> tuple[str, TrueWord]:
        return line, TrueWord(curve, word.text, care)

    (left, top), _, (right, bottom), _ = flat
    if form in ("quad", "floats"):
        return f"{joined(quad, ',', form)},{text}", word
    if form == "quad tabs":
        return joined(quad, "\t", form) + f"\t{text}", word
    if form == "quad, tab":
        return joined(quad, ",", form) + f"\t{text}", word
    if form == "quad blanks":
        return joined(quad, " ", form) + f" {text}", word
    if form == "quad wide":
        return joined(quad, " , ", form) + f" , {text} ", word
    if form == "quad quoted":
        return joined(quad, ",", form) + f',"{text}"', word
    if form == "quad single":
        return joined(quad, ",", form) + f",'{text}'", word
    if form == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="").writerow([*(round(v) for p in quad for v in p), text])
        return out.getvalue(), word
    if form == "no text":
        return joined(quad, ",", form), TrueWord(quad, None)
    if form == "mlt":
        script = "None" if not care else rng.choice(SCRIPTS)
        return joined(quad, ",", form) + f",{script},{text}", word
    if form == "rctw":
        return joined(quad, ",", form) + f',{rng.randint(0, 1)},"{text}"', word
    if form == "td500":
        flag = int(rng.random() < 0.3)
        return joined(quad, ",", form) + f",{flag}", TrueWord(quad, None, not flag)
    if form == "box blanks":
        return boxed(f'{left} {top} {right} {bottom} "{text}"')
    if form == "box commas":
        return boxed(f"{left}, {top}, {right}, {bottom}, {text}")
    if form == "box tabs":
        return boxed(f"{left}\t{top}\t{right}\t{bottom}\t{text}")
    if form == "points":
        return curved(f"{joined(curve, ',', form)},{text}")
    if form == "points quoted":
        return curved(f'{joined(curve, ",", form)},"{text}"')
    if form == "points marked":
        return curved(f"{joined(curve, ',', form)},####{text}")
    if form == "quads and points":
        line = f"{joined(quad, ',', form)},{text}"
        return (line, word) if rng.random() < 0.7 else curved(f"{joined(curve, ',', form)},{text}")
    if form == "lists":
        xs, ys = (" ".join(str(round(p[axis])) for p in curve) for axis in (0, 1))
        if rng.random() < 0.3:
            xs = xs.replace(" ", "\n ", 3)
        shown = "#" if not care else text.replace("\\", "\\\\").replace("'", "\\'")
        ornt = "#" if not care else "c"
        return curved(f"x: [[{xs}]], y: [[{ys}]], ornt: [u'{ornt}'], transcriptions: [u'{shown}']")
    if form == "cvat":
        kind = rng.random()
        if kind < 0.4:
            return boxed(f'{left}.0 {top}.0 {right}.0 {bottom}.0 "{text}"')
        if kind < 0.7:
            return joined(quad, ",", "floats") + f',"{text}"', word
        return curved(joined(curve, ",", "floats") + f',"{text}"')
    # What nobody reads: an error is right, the text with the column in it is not.
    if form == "language before":
        return joined(quad, ",", form) + f",{rng.choice(['en', 'de'])},{text}", word
    if form == "language behind":
        return joined(quad, ",", form) + f",{text},{rng.choice(['en', 'de'])}", word
    if form == "score behind":
        return joined(quad, ",", form) + f",{text},{rng.random():.3f}", word
    if form == "index before":
        return f"{place},{joined(quad, ',', form)},{text}", word
    if form == "name before":
        return f"photo.png,{joined(quad, ',', form)},{text}", word
    if form == "semicolons":
        return joined(quad, ";", form) + f";{text}", word
    if form == "x y w h":
        return boxed(f"{left},{top},{right - left},{bottom - top},{text}")
    if form == "yolo":
        return boxed(f"0 {left / 240:.4f} {top / 200:.4f} 0.2500 0.1000")
    if form == "td500 own":
        x, y, cos, sin = (left + right) / 2, (top + bottom) / 2, math.cos(0.01), math.sin(0.01)
        turned = [
            (x + (a - x) * cos - (b - y) * sin, y + (a - x) * sin + (b - y) * cos) for a, b in flat
        ]
        word = TrueWord(turned, None)
        return f"{place} 0 {left} {top} {right - left} {bottom - top} 0.01", word
    if form == "two corners":
        return joined([flat[0], flat[2]], ",", "quad").replace(",", ";", 2) + f",{text}", word
    raise AssertionError(form)


READ = [
    *("quad", "floats", "quad tabs", "quad, tab", "quad blanks", "quad wide", "quad quoted"),
    *("quad single", "no text", "mlt", "rctw", "td500", "box blanks", "box commas", "box tabs"),
    *("points", "points quoted", "points marked", "quads and points", "lists", "cvat"),
]
# Not all of them can be told from others; MSRA-TD500's own form can.
UNREAD = [
    *("csv", "language before", "language behind", "score behind", "index before", "name before"),
    *("semicolons", "x y w h", "yolo", "td500 own", "two corners"),
]
# Changes that leave the words as they are, and those that may make an error of them.
HARMLESS = [
    *("utf-8-sig", "utf-16", "utf-32", "crlf", "cr", "blank lines", "no last line end"),
    *("label capitals", "image capitals", "res_", "no prefix", "together", "exif", "nested"),
    *("heic", "empty page", "jpeg", "webp"),
]
HARMFUL = [
    *("utf-16-le", "cp1252", "gbk", "twin picture", "twin label", "twin suffix", "lonely label"),
    *("no label", "cut line", "letter for digit"),
]


def make_folder(root: Path, seed: int) -> Folder:
    """Writes one folder, below `root`."""
    rng = random.Random(seed)
    form = rng.choice(READ if rng.random() < 0.8 else UNREAD)
    changes = rng.sample(HARMLESS, rng.randint(0, 3))
    if rng.random() < 0.25:
        changes.append(rng.choice(HARMFUL))
    labels = root / ("images" if "together" in changes else "gt")
    made = Folder(root, form, changes, root / "images", labels)
    made.plain = form in READ and not set(changes) & set(HARMFUL)
    made.images.mkdir(parents=True)
    labels.mkdir(exist_ok=True)
    names = ["img_1", "img_2", "img_10", "Straße 7"][: rng.randint(3, 4)]
    harmed = rng.choice(names)
    for name in names:
        count = 0 if "empty page" in changes and name == "img_2" else rng.randint(4, 8)
        pairs = [
            line_of(rng, form, place, text)
            for place, text in enumerate(texts_for(rng, form, count))
        ]
        lines, words = [line for line, _ in pairs], [word for _, word in pairs]
        write_label(rng, made, name, lines, harmed=name == harmed)
        write_picture(rng, made, name, words, harmed=name == harmed)
    return made


def write_label(
    rng: random.Random, made: Folder, name: str, lines: list[str], *, harmed: bool
) -> None:
    changes = made.changes
    if harmed and lines and "cut line" in changes:
        lines[-1] = lines[-1][:9]  # in the third number or before; later nobody can tell
    if harmed and lines and "letter for digit" in changes:
        # In the first number, which is a coordinate or before one.
        lines[0] = lines[0].replace("0", "O", 1) if "0" in lines[0][:12] else "l" + lines[0]
    if "blank lines" in changes:
        lines = ["", *[line + "\n" for line in lines], "  "]
    end = "\r\n" if "crlf" in changes else "\r" if "cr" in changes else "\n"
    text = "\n".join(lines) + ("" if "no last line end" in changes else "\n")
    text = text.replace("\n", end)
    coding = [c for c in changes if c in ("utf-8-sig", "utf-16", "utf-32", "utf-16-le")]
    data = text.encode(coding[-1] if coding else "utf-8")
    for legacy in {"cp1252", "gbk"} & set(changes):
        data = text.encode(legacy, "replace")
        unknown = any(character.encode(legacy, "replace") == b"?" for character in text)
        if "?" not in text and unknown:
            data = b"\xff\n" + data  # what cannot be written is not judged by
    prefix = "" if "no prefix" in changes else "res_" if "res_" in changes else "gt_"
    suffix = ".TXT" if "label capitals" in changes else ".txt"
    path = made.labels / f"{prefix}{name}{suffix}"
    if harmed and "no label" in changes:
        return
    path.write_bytes(data)
    if harmed and "twin label" in changes:
        (made.labels / f"{'gt_' if not prefix else ''}{name}.txt").write_text("1,1,9,1,9,9,1,9,x")
    if harmed and "twin suffix" in changes:
        other = ".txt" if suffix == ".TXT" else ".TXT"
        (made.labels / f"{prefix}{name}{other}").write_text("1,1,9,1,9,9,1,9,x")
    if harmed and "lonely label" in changes:
        lonely = made.labels / "gt_img_99.txt"
        lonely.write_text(lines[0] if lines else "")
        made.hidden.append(lonely)


def write_picture(
    rng: random.Random, made: Folder, name: str, words: list[TrueWord], *, harmed: bool
) -> None:
    changes = made.changes
    suffix = ".jpg" if {"jpeg", "exif"} & set(changes) else ".webp" if "webp" in changes else ".png"
    suffix = suffix.upper() if "image capitals" in changes else suffix
    height, width = 200, 240
    path = made.images / f"{name}{suffix}"
    if "exif" in changes:
        turned = rng.choice([1, 3, 6, 8])
        exif = Image.Exif()
        exif[0x0112] = turned
        stored = (height, width) if turned in (6, 8) else (width, height)
        Image.new("L", stored, 200).save(path, exif=exif)
    else:
        Image.new("L", (width, height), 200).save(path)
    made.pages[path.name] = (height, width), words
    if harmed and "twin picture" in changes:
        Image.new("L", (9, 9)).save(made.images / f"{name}.bmp")
    if harmed and "nested" in changes:
        inside = made.images / "more" / f"{name}.png"
        inside.parent.mkdir()
        Image.new("L", (9, 9)).save(inside)
        made.hidden.append(inside)
    if harmed and "heic" in changes:
        other = made.images / "photo.heic"
        other.write_bytes(b"ftypheic")
        made.hidden.append(other)
