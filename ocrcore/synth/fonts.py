"""Fonts: the bundled set, the user's folders, coverage of characters, and splits by family.

Pillow opens the fonts (`.ttf .otf .ttc .woff2`); `docs/synthetic_text.md` explains why.
"""

from __future__ import annotations

import hashlib
import re
import struct
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from ocrcore.text import needs_shaping

Split = Literal["train", "validation", "test"]

SUFFIXES = (".ttf", ".otf", ".ttc", ".woff2")
# Weight names used in font names, and their usWeightClass.
WEIGHTS: Mapping[str, int] = {
    "thin": 100, "hairline": 100, "extralight": 200, "ultralight": 200, "light": 300,
    "regular": 400, "book": 400, "roman": 400, "normal": 400, "medium": 500, "semibold": 600,
    "demibold": 600, "demi": 600, "bold": 700, "extrabold": 800, "ultrabold": 800,
    "black": 900, "heavy": 900,
}  # fmt: skip
_WIDTHS = frozenset({"condensed", "semicondensed", "extracondensed", "narrow", "expanded"})
_SLANTS = frozenset({"italic", "oblique"})
_DEGREES = frozenset({"semi", "demi", "extra", "ultra"})
_MAX_FILE_BYTES = 64 << 20
_MAX_FACES = 64
# Large enough to tell different glyphs apart, small enough to be drawn fast.
_PROBE_SIZE = 32
# A noncharacter (Unicode 16, section 23.7): no font maps it, so it draws the "missing" glyph.
_NO_CHARACTER = "\U0010ffff"
# Chosen so that six of the bundled families fall into "validation" and six into "test", with
# Cyrillic and Greek in both. Changing it would move families between splits.
_SPLIT_SALT = b"115"
_TWO_FORMS = "abdeghnqrt"  # letters whose capitals are not just larger
_SAME_SHAPE = 0.8
_BLANK = np.zeros((0, 0), np.uint8)
_BLANK.flags.writeable = False
HAS_RAQM = bool(features.check("raqm"))


class FontError(ValueError):
    """A font cannot be opened, or cannot draw a text."""


@dataclass(frozen=True, slots=True)
class Font:
    """One face of a font file.

    Attributes:
        path: path of the font file.
        index: index of the face in a collection (`.ttc`), otherwise 0.
        family: family name without weight, width and slant: "Roboto" for Roboto Black.
        weight: 100 (thin) to 900 (black), parsed from the names; 400 if they do not say.
        style: "normal" or "italic".
    """

    path: str
    index: int = 0
    family: str = ""
    weight: int = 400
    style: Literal["normal", "italic"] = "normal"

    def __hash__(self) -> int:
        return hash(self.path)  # for caches of glyphs: several times faster than of all fields

    def __str__(self) -> str:
        return Path(self.path).name + (f" (face {self.index})" if self.index else "")

    def missing(self, text: str) -> set[str]:
        """Return the characters of `text` that the font cannot draw; never white space.

        A character is drawn if its glyph is neither blank nor the font's "missing" glyph, which
        FreeType draws for code points that are not in the font's cmap. Lower-case letters that the
        font draws as capitals count as missing, because a lower-case label would contradict the
        image. So do characters that need shaping (`ocrcore.text.needs_shaping`) if Pillow lacks
        Raqm.

        Raises:
            FontError: the file cannot be opened.
        """
        drawn = _drawn_by(self)
        lacking = set()
        for character in text:
            known = drawn.get(character)
            if known is None:
                known = drawn[character] = _draws(self, character)
            if not known:
                lacking.add(character)
        return lacking

    def covers(self, text: str) -> bool:
        """Return whether `missing(text)` is empty."""
        return not self.missing(text)


@lru_cache(maxsize=2048)
def open_face(font: Font, size: float, *, shaped: bool = True) -> ImageFont.FreeTypeFont:
    """Open a face at an em size in pixels; cached per process.

    Args:
        font: the font.
        size: em size in pixels.
        shaped: use Raqm's layout if Pillow has it (GPOS kerning), else one glyph per code point.

    Raises:
        FontError: the file is missing or not a font.
    """
    raqm = shaped and HAS_RAQM
    engine = ImageFont.Layout.RAQM if raqm else ImageFont.Layout.BASIC
    try:
        return ImageFont.truetype(font.path, size, index=font.index, layout_engine=engine)
    except (OSError, ValueError) as error:
        raise FontError(f"{font.path}: cannot be opened as a font: {error}") from error


def draw(face: ImageFont.FreeTypeFont, text: str) -> tuple[int, int, np.ndarray]:
    """Draw a few code points in one piece.

    Returns:
        `(left, top, ink)`: `ink` is `(h, w)` uint8 coverage cropped to the ink, 0 x 0 if empty;
        `left` and `top` are its position relative to the pen on the baseline, in pixels, y down.
    """
    left, top, right, bottom = (int(v) for v in face.getbbox(text, anchor="ls"))
    # Two more pixels on every side: the box is rounded, and the ink must not be cut off.
    shape = (right - left + 4, bottom - top + 4)
    if min(shape) < 5 or max(shape) > 8192:
        return 0, 0, _BLANK
    sheet = Image.new("L", shape)
    ImageDraw.Draw(sheet).text((2 - left, 2 - top), text, fill=255, font=face, anchor="ls")
    box = sheet.getbbox()
    if box is None:
        return 0, 0, _BLANK
    whole = np.frombuffer(sheet.tobytes(), np.uint8).reshape(shape[1], shape[0])
    ink = whole[box[1] : box[3], box[0] : box[2]].copy()
    ink.flags.writeable = False
    return left - 2 + box[0], top - 2 + box[1], ink


@lru_cache(maxsize=4096)
def _drawn_by(font: Font) -> dict[str, bool]:
    return {}


@lru_cache(maxsize=4096)
def _missing_glyph(font: Font) -> tuple[int, int, bytes]:
    left, top, ink = draw(open_face(font, _PROBE_SIZE, shaped=False), _NO_CHARACTER)
    return left, top, ink.tobytes()


def _draws(font: Font, character: str) -> bool:
    if character.isspace():
        return True
    if unicodedata.category(character) in ("Cc", "Cn", "Cs", "Co", "Zl", "Zp"):
        return False
    if needs_shaping(character) and not HAS_RAQM:
        return False
    if character.islower() and draws_capitals(font):
        return False
    face = open_face(font, _PROBE_SIZE, shaped=False)
    try:
        left, top, ink = draw(face, character)
        return ink.size > 0 and (left, top, ink.tobytes()) != _missing_glyph(font)
    except OSError:  # a broken glyph in an otherwise readable file
        return False


@lru_cache(maxsize=4096)
def draws_capitals(font: Font) -> bool:
    """Return whether a font draws capitals, of any size, for lower-case letters.

    It compares the glyphs of letters whose two cases differ, scaled to one size. For bundled fonts
    the medians of their correlations are .94 to 1 for five fonts, and at most .52 for the others.

    Raises:
        FontError: the file cannot be opened.
    """
    face, found = open_face(font, 2 * _PROBE_SIZE, shaped=False), []
    for letter in _TWO_FORMS:
        small, capital = (draw(face, one)[2] for one in (letter, letter.upper()))
        if not small.size or not capital.size:
            return False
        scaled = [
            cv2.resize(ink, (48, 48), interpolation=cv2.INTER_AREA).ravel()
            for ink in (small, capital)
        ]
        found.append(np.corrcoef(*scaled)[0, 1])
    return bool(np.median(found) > _SAME_SHAPE)


@lru_cache(maxsize=1)
def bundled_fonts() -> tuple[Font, ...]:
    """Return the fonts that come with the package, sorted by file name.

    `ocrcore/synth/assets/fonts/README.md` lists them. All draw digits, ASCII letters (five of
    them capitals only) and nearly all punctuation; the `.ttf` files also draw accented Latin,
    Cyrillic and Greek letters as listed there.
    """
    fonts, problems = find_fonts([Path(__file__).parent / "assets" / "fonts"])
    if problems or not fonts:
        raise FontError(f"the bundled fonts are damaged, reinstall the package: {problems}")
    return fonts


def find_fonts(
    folders: Iterable[str | Path],
) -> tuple[tuple[Font, ...], dict[str, str]]:
    """Find fonts in folders (recursively) or single files.

    Args:
        folders: folders or font files.

    Returns:
        `(fonts, problems)`: fonts sorted by path; `problems` maps the path of each file or folder
        that cannot be used to the reason.
    """
    fonts: list[Font] = []
    problems: dict[str, str] = {}
    for folder in folders:
        folder = Path(folder)
        if folder.is_dir():
            files = sorted(
                path
                for path in folder.rglob("*")
                if path.suffix.lower() in SUFFIXES and path.is_file()
            )
            if not files:
                problems[str(folder)] = f"holds no {' '.join(SUFFIXES)} file"
        elif folder.is_file():
            files = [folder]
        else:
            files = []
            problems[str(folder)] = "no such file or folder"
        for path in files:
            try:
                fonts += _read_faces(path)
            except (FontError, OSError) as error:
                problems[str(path)] = str(error)
    return tuple(dict.fromkeys(fonts)), problems


def _read_faces(path: Path) -> list[Font]:
    size = path.stat().st_size
    if size > _MAX_FILE_BYTES:
        raise FontError(f"{path}: {size} bytes, expected at most {_MAX_FILE_BYTES} for a font")
    with path.open("rb") as file:
        head = file.read(12)
    # A collection begins with "ttcf", its version and the number of faces (OpenType, otff).
    count = struct.unpack(">I", head[8:12])[0] if head[:4] == b"ttcf" and len(head) == 12 else 1
    if count > _MAX_FACES:
        raise FontError(f"{path}: claims to hold {count} faces, expected at most {_MAX_FACES}")
    fonts = []
    for index in range(count):
        face = open_face(Font(str(path), index), _PROBE_SIZE, shaped=False)
        names = face.getname()
        family, weight, style = parse_name(names[0] or path.stem, names[1] or "", path.stem)
        font = Font(str(path), index, family, weight, style)
        try:
            _missing_glyph(font)
            for character in "Aa0":
                draw(face, character)
        except OSError as error:
            raise FontError(f"{path}: cannot be drawn: {error}") from error
        fonts.append(font)
    return fonts


def parse_name(
    family: str, style: str, stem: str = ""
) -> tuple[str, int, Literal["normal", "italic"]]:
    """Parse weight and slant from a font's names.

    Args:
        family: family name, which may end in weight and width ("Roboto Thin").
        style: style name ("Bold Italic").
        stem: stem of the file name; a weight class in it ("x-100-italic") takes precedence, because
            web fonts cut from variable fonts often keep the names of the default instance.

    Returns:
        `(family, weight, style)`: the family without trailing words for weight, width and slant.
    """
    words = re.sub(r" \d+pt\b", "", family).replace("-", " ").split()
    digits = re.search(r"[-_]([1-9]00)(?!\d)", stem)
    keep = len(words)
    # Always strip: one split per family matters more than a name like "Shadows Into Light".
    while keep > 1 and _is_variant(words[keep - 1]):
        keep -= 1
    named = _name_words(style) + _name_words(" ".join(words[keep:]))
    weights = [w for w in map(_weight, named) if w not in (0, 400)]
    weight = int(digits[1]) if digits else (weights or [400])[0]
    italic = any(word in _SLANTS for word in named) or re.search(r"(?i)italic|oblique", stem)
    return " ".join(words[:keep]), weight, "italic" if italic else "normal"


def _weight(word: str) -> int:
    return WEIGHTS.get(word.lower(), 0)


def _name_words(name: str) -> list[str]:
    """Split both "SemiBold Italic" and "Semi Bold-Italic" into ["semibold", "italic"]."""
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("-", " ")).lower().split()
    words: list[str] = []
    for part in parts:
        if words and words[-1] in _DEGREES and words[-1] + part in WEIGHTS:
            words[-1] += part
        else:
            words.append(part)
    return words


def _is_variant(word: str) -> bool:
    word = word.lower()
    return word in WEIGHTS or word in _WIDTHS or word in _SLANTS or word in _DEGREES


def split_of(name: str, *, validation: float = 0.1, test: float = 0.1) -> Split:
    """Assign a name (a font's family, a background's file name) to a split by its hash.

    A name is in the same split on every machine and in every version, whatever other names there
    are. Case is ignored. Several of the bundled families fall in each split.

    Args:
        name: the name.
        validation: fraction of names for "validation".
        test: fraction of names for "test".

    Raises:
        FontError: the fractions are negative or leave nothing for training.
    """
    if validation < 0 or test < 0 or validation + test >= 1:
        raise FontError(f"shares {validation} and {test}: expected >= 0 and a sum less than 1")
    hashed = hashlib.blake2b(name.casefold().encode(), digest_size=8, salt=_SPLIT_SALT)
    digest = hashed.digest()
    place = int.from_bytes(digest, "big") / 2**64
    if place < validation:
        return "validation"
    return "test" if place < validation + test else "train"


def select(
    fonts: Sequence[Font],
    *,
    split: Split | None = None,
    without_weights: Iterable[str | int] = (),
    families: Iterable[str] | None = None,
) -> tuple[Font, ...]:
    """Select fonts.

    Args:
        fonts: the fonts to choose from.
        split: keep families of this split only.
        without_weights: leave out these weights, by name ("thin", "light") or class (100 to 900).
        families: keep these families only; case is ignored.

    Returns:
        The selected fonts, in the given order.

    Raises:
        FontError: a name is unknown, or no font is left.
    """
    weights: set[int] = set()
    for weight in without_weights:
        value = WEIGHTS.get(weight.lower()) if isinstance(weight, str) else weight
        if value is None or not 1 <= value <= 1000:
            raise FontError(
                f"weight {weight!r}: expected 100 to 900 or one of {', '.join(WEIGHTS)}"
            )
        weights.add(value)
    names = None if families is None else {name.casefold() for name in families}
    if names is not None and (unknown := names - {font.family.casefold() for font in fonts}):
        raise FontError(f"no font of the families {', '.join(sorted(unknown))}")
    kept = tuple(
        font
        for font in fonts
        if font.weight not in weights
        and (names is None or font.family.casefold() in names)
        and (split is None or split_of(font.family) == split)
    )
    if not kept:
        raise FontError(
            f"no font of {len(fonts)} is left (split {split}, without weights "
            f"{sorted(weights)}, families {families}): give more fonts or fewer conditions"
        )
    return kept
