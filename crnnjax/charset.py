"""Charsets: named, ordered sets of characters, and the conversion of labels to CTC classes.

Class 0 is the blank, class `k` the `k`-th character, as in deep-text-recognition-benchmark and
EasyOCR. Texts are normalized to NFC once and then looked up, character by character; charsets are
never used in regular expressions.

The order is part of a model: its output rows mean nothing without it. `Charset.digest` identifies a
charset, and `save` stores one with a run.

Host code: no jax.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ocrcore.files import write_json

MAX_CHARACTERS = 100_000
_MAX_BYTES = 1 << 23
_EASYOCR = "easyocr:"
_PUNCTUATION = string.punctuation  # the 32 characters of ASCII, in order


class CharsetError(ValueError):
    """An invalid charset, or a text with characters outside a charset; the message says which."""


@dataclass(frozen=True)
class Charset:
    """Characters in the order of a model's classes.

    Attributes:
        name: displayed name, saved with the charset.
        characters: one code point each, without the blank; class `k` is `characters[k - 1]`.
        case_insensitive: letters are looked up in lower case if the charset has it, else unchanged,
            else in upper case. So a charset of capitals also accepts lower-case labels.
        as_is: accept the characters of another model unchanged: some occur twice in EasyOCR's older
            charsets (a text then gets the last class, as in EasyOCR), and some never occur in NFC
            text. Otherwise these are errors.

    Raises:
        CharsetError: no characters, too many, one with several code points, one that occurs twice,
            or one that NFC changes.
    """

    name: str
    characters: tuple[str, ...]
    case_insensitive: bool = False
    as_is: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "characters", tuple(self.characters))
        if not 0 < len(self.characters) <= MAX_CHARACTERS:
            raise CharsetError(
                f"charset {self.name} has {len(self.characters)} characters, expected 1 to "
                f"{MAX_CHARACTERS}"
            )
        for character in self.characters:
            if len(character) != 1:
                raise CharsetError(
                    f"charset {self.name}: {character!r} has {len(character)} code points, "
                    "expected one"
                )
        if self.as_is:
            return
        twice = [c for c, count in Counter(self.characters).items() if count > 1]
        if twice:
            raise CharsetError(
                f"charset {self.name}: {_shown(twice)} more than once: expected each character once"
            )
        never = [c for c in self.characters if unicodedata.normalize("NFC", c) != c]
        if never:
            parts = dict.fromkeys("".join(unicodedata.normalize("NFC", c) for c in never))
            lacking = [part for part in parts if part not in self.characters]
            raise CharsetError(
                f"charset {self.name}: {_shown(never)} never occur{'s' * (len(never) == 1)} in "
                f"NFC text, which has {_shown(parts)} instead: "
                + (f"write {_shown(lacking)}" if lacking else f"leave out {_shown(never)}")
            )

    @property
    def num_classes(self) -> int:
        """Number of classes: the characters and the blank."""
        return len(self.characters) + 1

    @property
    def digest(self) -> str:
        """Digest of the characters and their order, without the name; sixteen hex digits."""
        whole = json.dumps([list(self.characters), self.case_insensitive])
        return hashlib.sha256(whole.encode()).hexdigest()[:16]

    def classes_of(self, points: ArrayLike) -> NDArray[np.int32]:
        """Return the classes of code points of NFC text; 0 for those outside the charset.

        Args:
            points: integers of any shape.

        Returns:
            int32 of the same shape.
        """
        points = np.asarray(points, np.int64)
        # The table ends after the last character of the charset; all after it are outside.
        return self._table[np.minimum(points, len(self._table) - 1)]

    def encode(self, text: str) -> NDArray[np.int32]:
        """Return the classes of a text, `(n,)` int32, all 1 or more.

        Raises:
            CharsetError: a character is outside the charset.
        """
        text = normalized(text)
        classes = self.classes_of(_points(text))
        if not classes.all():
            outside = Counter(c for c, known in zip(text, classes, strict=True) if not known)
            raise CharsetError(
                f"{text!r}: {_shown(outside)} outside the charset {self.name}, which has "
                f"{self.describe()}"
            )
        return classes

    def decode(self, indices: Iterable[int] | ArrayLike) -> str:
        """Return the text of classes after CTC's collapse: repeats are kept, blanks are dropped.

        Raises:
            IndexError: a class is not in `[0, num_classes)`.
        """
        text = []
        for index in np.asarray(indices, np.int64).ravel().tolist():
            if not 0 <= index < self.num_classes:
                raise IndexError(f"class {index}: expected 0 to {self.num_classes - 1}")
            if index:
                text.append(self.characters[index - 1])
        return "".join(text)

    def missing(self, text: str) -> set[str]:
        """Return the characters of a text, in NFC, that the charset cannot write."""
        text = normalized(text)
        return {
            c for c, known in zip(text, self.classes_of(_points(text)), strict=True) if not known
        }

    def fold(self, text: str) -> str:
        """Return a text as the charset writes it; characters outside it are kept.

        A correct prediction equals this: it is `decode(encode(text))` if no character is missing.
        """
        text = normalized(text)
        classes = self.classes_of(_points(text)).tolist()
        return "".join(
            self.characters[known - 1] if known else character
            for character, known in zip(text, classes, strict=True)
        )

    def describe(self) -> str:
        """Return a line with the number of characters and the first of them."""
        shown = "".join(self.characters[:100]) + ("..." if len(self.characters) > 100 else "")
        case = ", case-insensitive" if self.case_insensitive else ""
        return f"{len(self.characters)} characters{case}: {shown!r}"

    def save(self, path: str | Path) -> None:
        """Write the charset as JSON, atomically."""
        write_json(path, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values that `save` writes."""
        return {
            "name": self.name,
            "characters": "".join(self.characters),
            "case_insensitive": self.case_insensitive,
            "as_is": self.as_is,
            "digest": self.digest,
        }

    @classmethod
    def load(cls, path: str | Path) -> Charset:
        """Read what `save` wrote.

        Raises:
            CharsetError: there is no such file, it is not a charset, or it was edited.
        """
        try:
            value = json.loads(_read(path))
            charset = cls(
                str(value["name"]),
                tuple(value["characters"]),
                bool(value["case_insensitive"]),
                bool(value["as_is"]),
            )
            digest = value["digest"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if isinstance(error, CharsetError):
                raise CharsetError(f"{path}: {error}") from error
            raise CharsetError(f"{path}: not a saved charset: {error!r}") from error
        if digest != charset.digest:
            raise CharsetError(
                f"{path}: the characters do not fit the digest {digest!r}, expected "
                f"{charset.digest}: a model's charset must not be edited; make a new one"
            )
        return charset

    @cached_property
    def _table(self) -> NDArray[np.int32]:
        """Class of each code point up to the last known one, and a 0 after it."""
        classes = {character: index for index, character in enumerate(self.characters, 1)}
        if self.case_insensitive:
            known = dict(classes)
            for character in {c for k in known for c in (k, k.lower(), k.upper())}:
                found = [c for c in (character.lower(), character, character.upper()) if c in known]
                if len(character) == 1 and found:
                    classes[character] = known[found[0]]
        table = np.zeros(max(map(ord, classes)) + 2, np.int32)
        for character, index in classes.items():
            table[ord(character)] = index
        return table


def normalized(text: str) -> str:
    """Return a text in NFC, the form that charsets use."""
    return unicodedata.normalize("NFC", text)


# `en94` is the charset of deep-text-recognition-benchmark's `--sensitive`; `en95` adds the space.
# Names with `_g` are the charsets of EasyOCR's models of these names (`easyocr/config.py`).
NAMED: dict[str, str] = {
    "en36": string.digits + string.ascii_lowercase,
    "en94": string.digits + string.ascii_letters + _PUNCTUATION,
    "en95": string.digits + string.ascii_letters + _PUNCTUATION + " ",
    "english_g2": string.digits
    + _PUNCTUATION
    + " €"
    + string.ascii_uppercase
    + string.ascii_lowercase,
    "latin_g2": "".join(map(chr, range(32, 127)))
    + "ªÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿĀ"
    + "āĂăĄąĆćČčĎďĐđĒēĖėĘęĚěĞğĨĩĪīĮįİıĶķĹĺĻļĽľŁłŃńŅņŇňŒœŔŕŘřŚśŞşŠšŤťŨũŪ"
    + "ūŮůŲųŸŹźŻżŽžƏƠơƯưȘșȚțə\u0307ḌḍḶḷṀṁṂṃṄṅṆṇṬṭẠạẢảẤấẦầẨẩẪẫẬậẮắẰằẲẳẴẵẶặẸẹẺ"
    + "ẻẼẽẾếỀềỂểỄễỆệỈỉỊịỌọỎỏỐốỒồỔổỖỗỘộỚớỜờỞởỠỡỢợỤụỦủỨứỪừỬửỮữỰựỲỳỴỵỶỷỸỹ"
    + "€",
    "cyrillic_g2": string.digits
    + _PUNCTUATION
    + " €₽"
    + string.ascii_uppercase
    + string.ascii_lowercase
    + "АБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдеёжзийклмнопрстуфхцчшщъыьэюя"
    + "ЂђЃѓЄєІіЇїЈјЉљЊњЋћЌќЎўЏџҐґҒғҚқҮүҲҳҶҷӀӏӢӣӨөӮӯ",
}
"""Characters of each named charset, in the order of the classes."""


def named(name: str, *, case_insensitive: bool | None = None) -> Charset:
    """Return a charset by name, or from a file.

    Args:
        name: a name of `NAMED`; or "easyocr:NAME" for a model of an installed EasyOCR; else the
            path of a file: one that `Charset.save` wrote (`.json`), or a UTF-8 text file in which
            every character counts except line breaks, so that a charset may be in one line or have
            one character per line.
        case_insensitive: as for `Charset`; None: what the file says, else True only for `en36`.

    Raises:
        CharsetError: there is no such name or file, or the characters are invalid.
    """
    if name in NAMED:
        folded = name == "en36" if case_insensitive is None else case_insensitive
        return Charset(name, tuple(NAMED[name]), folded)
    if name.startswith(_EASYOCR):
        known = _easyocr_charsets()
        model = name.removeprefix(_EASYOCR)
        if model not in known:
            raise CharsetError(f"charset {name!r}: this EasyOCR has {', '.join(known)}")
        return Charset(model, tuple(known[model]), bool(case_insensitive), as_is=True)
    path = Path(name)
    if not path.is_file():
        raise CharsetError(f"charset {name!r}: expected one of {', '.join(NAMED)}, or a file")
    if path.suffix == ".json":
        found = Charset.load(path)
        if case_insensitive in (None, found.case_insensitive):
            return found
        return Charset(found.name, found.characters, bool(case_insensitive), found.as_is)
    text = _read(path).removeprefix("\ufeff").replace("\r", "").replace("\n", "")
    return Charset(path.stem, tuple(text), bool(case_insensitive))


def _easyocr_charsets() -> dict[str, str]:
    """Characters of an installed EasyOCR's models, parsed from its source without running it."""
    spec = importlib.util.find_spec("easyocr")
    if spec is None or spec.origin is None:
        raise CharsetError(
            "EasyOCR is not installed: pip install easyocr, or give a file of the characters"
        )
    path = Path(spec.origin).with_name("config.py")
    found = {}
    for node in ast.walk(ast.parse(_read(path))):
        # A model is a name with a dict that holds `characters`. One charset, that of Thai, is
        # computed by code and left out.
        if isinstance(node, ast.Dict):
            for name, model in zip(node.keys, node.values, strict=True):
                if isinstance(name, ast.Constant) and isinstance(model, ast.Dict):
                    for key, value in zip(model.keys, model.values, strict=True):
                        fits = isinstance(key, ast.Constant) and key.value == "characters"
                        if fits and isinstance(value, ast.Constant):
                            found[str(name.value)] = str(value.value)
    if found:
        return found
    raise CharsetError(f"{path}: found no model with a charset; unknown version of EasyOCR")


def writable_characters(charset: Charset) -> str:
    """Return all characters that texts may have: both cases if the charset ignores case."""
    characters = dict.fromkeys(charset.characters)
    if charset.case_insensitive:
        for character in charset.characters:
            for other in (character.lower(), character.upper()):
                if len(other) == 1 and not charset.missing(other):
                    characters.setdefault(other)
    return "".join(characters)


def _points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _shown(characters: Iterable[str]) -> str:
    """Describe characters: each with its code point."""
    return ", ".join(f"{character!r} (U+{ord(character):04X})" for character in characters)


def _read(path: str | Path) -> str:
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CharsetError(f"{path}: more than {_MAX_BYTES} bytes, expected a charset")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CharsetError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise CharsetError(f"{path}: not UTF-8: {error}") from error
