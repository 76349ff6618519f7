"""What is written: words by frequency, lines, numbers, dates, prices, codes, the user's file.

`sample_text` is a pure function of its generator and configuration. `pick_font` finds a font that
can draw a text, and counts characters that no font can draw.
"""

from __future__ import annotations

import codecs
import string
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ocrcore.synth.fonts import Font, draws_capitals
from ocrcore.text import graphemes, needs_shaping

_WORDS = Path(__file__).parent / "assets" / "words"
LANGUAGES = ("en", "de", "fr", "es", "pl", "cs", "tr", "vi", "ru", "el", "zh", "ja", "ko")
# Languages written without spaces between words.
_UNSPACED = frozenset({"zh", "ja"})
_MAX_FILE_BYTES = 256 << 20
_MAX_TRIES = 200
CAPITALS_FONTS = ("skip", "upper")

DEFAULT_SOURCES: Mapping[str, float] = MappingProxyType(
    {
        "words": 0.62,
        "lines": 0.10,
        "numbers": 0.08,
        "dates": 0.03,
        "prices": 0.04,
        "codes": 0.03,
        "emails": 0.01,
        "urls": 0.02,
        "plates": 0.02,
        "random": 0.03,
        "characters": 0.02,
    }
)
DEFAULT_CASES: Mapping[str, float] = MappingProxyType(
    {"as_is": 0.4, "title": 0.22, "upper": 0.33, "mixed": 0.05}
)


class TextError(ValueError):
    """No text can be made: because of a file, a charset or a configuration."""


@dataclass(frozen=True, slots=True)
class TextConfig:
    """What texts are drawn, and how often.

    Attributes:
        sources: weight of each source; the keys are those of `DEFAULT_SOURCES` and "file".
        languages: languages of the word lists, from `LANGUAGES`; all equally likely.
        frequency_power: how much frequent words are preferred: a word's probability is proportional
            to its frequency to this power; 1 as in running text, 0 uniform.
        cases: weight of each letter case ("as_is", "lower", "title", "upper", "mixed"), for words
            and lines.
        punctuation: probability that a word gets a mark (`word,` `(word)` `word!`).
        max_length: maximum number of characters (graphemes), spaces included.
        min_length: minimum number of characters.
        charset: if given, only texts of these characters are made; the space need not be listed.
        characters: alphabet of random strings and single characters; default: the charset if one is
            given, otherwise ASCII letters and digits.
        plates: templates of license plates: A is a letter, 0 a digit, the rest is literal.
        file: the user's texts, one per line, UTF-8; needed by the source "file".
        capitals_fonts: how to use fonts that draw capitals for lower-case letters: "skip": never
            for texts with lower-case letters; "upper": the text is drawn and labeled in capitals,
            if charset and lengths allow that.

    Raises:
        TextError: unknown names, negative or all-zero weights, invalid lengths, a source that has
            no text within `charset` and the lengths, or a bad file.
    """

    sources: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_SOURCES))
    languages: tuple[str, ...] = ("en",)
    frequency_power: float = 0.5
    cases: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_CASES))
    punctuation: float = 0.08
    max_length: int = 25
    min_length: int = 1
    charset: str | None = None
    characters: str | None = None
    plates: tuple[str, ...] = (
        "AAA 0000",
        "AA 000 AA",
        "AA00 AAA",
        "A 000 AA",
        "000-AAA",
        "AA-AA 000",
    )
    file: str | None = None
    capitals_fonts: str = "skip"
    _source_edges: tuple[float, ...] = field(init=False, repr=False, compare=False)
    _case_edges: tuple[float, ...] = field(init=False, repr=False, compare=False)
    _allowed: frozenset[str] | None = field(init=False, repr=False, compare=False)
    _alphabet: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.min_length <= self.max_length:
            raise TextError(
                f"min_length is {self.min_length}, max_length is {self.max_length}: expected "
                "1 <= min_length <= max_length"
            )
        if self.capitals_fonts not in CAPITALS_FONTS:
            known = ", ".join(CAPITALS_FONTS)
            raise TextError(f"capitals_fonts is {self.capitals_fonts!r}, expected one of {known}")
        if not 0 <= self.frequency_power <= 10:
            raise TextError(f"frequency_power is {self.frequency_power!r}, expected 0 to 10")
        if not 0 <= self.punctuation <= 1:
            raise TextError(f"punctuation is {self.punctuation}, expected a probability")
        if unknown := set(self.languages) - set(LANGUAGES):
            raise TextError(
                f"no word list for {', '.join(sorted(unknown))}; there are {', '.join(LANGUAGES)}"
            )
        if not self.languages:
            raise TextError("languages is empty, expected at least one")
        allowed = None if self.charset is None else frozenset(graphemes(self.charset)) | {" "}
        if allowed is not None and len(allowed) == 1:
            raise TextError(f"charset {self.charset!r} is empty: expected characters")
        characters = self.characters or self.charset or string.ascii_letters + string.digits
        alphabet = tuple(
            dict.fromkeys(
                c
                for c in graphemes(characters)
                if not c.isspace() and (allowed is None or c in allowed)
            )
        )
        set_private = object.__setattr__
        set_private(self, "_allowed", allowed)
        set_private(self, "_alphabet", alphabet)
        set_private(self, "_source_edges", _edges("sources", self.sources, set(_MAKERS)))
        set_private(self, "_case_edges", _edges("cases", self.cases, set(_CASES)))
        used = {name for name, weight in self.sources.items() if weight > 0}
        if used & {"random", "characters"} and not alphabet:
            raise TextError(f"characters {characters!r}: none of them is in the charset")
        if "plates" in used and not any(self.plates):
            raise TextError("plates is empty, but the source 'plates' has a weight")
        if "file" in used and self.file is None:
            raise TextError("the source 'file' has a weight, but no file is given")
        if "file" not in used and self.file is not None:
            raise TextError(
                f"file is {self.file!r}, but is not read: give the source 'file' a weight in "
                f"sources, which are {dict(self.sources)}"
            )
        if used & {"words", "lines"}:
            for language in self.languages:
                _word_table(language, self._allowed, self.max_length, self.frequency_power)
        if "file" in used and self.file is not None:
            _file_texts(self.file, self._allowed, self.min_length, self.max_length)


def sample_text(rng: np.random.Generator, config: TextConfig) -> str:
    """Draw one text.

    Args:
        rng: the random generator; the text is a function of its state and the configuration.
        config: what to write.

    Returns:
        NFC text of `min_length` to `max_length` graphemes, all in the charset if there is one,
        without spaces at the ends or double spaces.

    Raises:
        TextError: none of 200 texts was within charset and lengths.
    """
    names = tuple(config.sources)
    for _ in range(_MAX_TRIES):
        name = names[bisect_right(config._source_edges, rng.random())]
        text = " ".join(_MAKERS[name](rng, config).split())
        if allows(config, text):
            return "".join(graphemes(text))
    raise TextError(
        f"none of {_MAX_TRIES} texts has {config.min_length} to {config.max_length} characters "
        f"that are all in the charset {config.charset!r}: choose other sources or lengths, or more "
        "characters"
    )


def allows(config: TextConfig, text: str) -> bool:
    """Return whether a text is within the charset and the lengths of a configuration."""
    characters = graphemes(text)
    fits = config.min_length <= len(characters) <= config.max_length
    return fits and (config._allowed is None or config._allowed.issuperset(characters))


def unused_texts(config: TextConfig) -> str:
    """Say how many texts of the user's file are left out and why; empty if none is."""
    if config.file is None:
        return ""
    texts, left_out = _file_texts(
        config.file, config._allowed, config.min_length, config.max_length
    )
    if not left_out:
        return ""
    parts = [f"{count} {reason}" for reason, count in left_out]
    lost = sum(count for _, count in left_out)
    return f"{lost} of {len(texts) + lost} texts of {config.file} left out ({', '.join(parts)})"


def pick_font(
    rng: np.random.Generator,
    text: str,
    fonts: Sequence[Font],
    refused: Counter[str] | None = None,
    *,
    config: TextConfig | None = None,
) -> tuple[str, Font] | None:
    """Draw a font at random among those that can draw a text.

    Args:
        rng: the random generator.
        text: the text to draw.
        fonts: the fonts to choose from.
        refused: counts, if no font fits, the characters that no font has; if each character is in
            some font but no font has all, those missing from the best font.
        config: says whether fonts that draw capitals for lower-case letters get the text in
            capitals.

    Returns:
        The text as the font draws it, and the font; None if no font can draw the text.
    """
    capitals = config is not None and config.capitals_fonts == "upper"

    def drawn(font: Font) -> str | None:
        if font.covers(text):
            return text
        upper = text.upper()
        if config is None or not capitals or not draws_capitals(font) or not allows(config, upper):
            return None
        return upper if font.covers(upper) else None

    for _ in range(4):  # most fonts draw most texts: try a few before checking all
        font = fonts[int(rng.random() * len(fonts))]
        if (found := drawn(font)) is not None:
            return found, font
    fitting = [(found, font) for font in fonts if (found := drawn(font)) is not None]
    if fitting:
        return fitting[int(rng.random() * len(fitting))]
    if refused is not None:
        lacking = [font.missing(text) for font in fonts]
        nobody = set(text).intersection(*lacking)
        fewest = min((len(characters) for characters in lacking), default=0)
        refused.update(nobody or next(lack for lack in lacking if len(lack) == fewest))
    return None


def drawable_charset(charset: Iterable[str], fonts: Sequence[Font]) -> tuple[str, str]:
    """Split a charset into characters that at least one font draws, and the others.

    Returns:
        `(drawn, refused)`, in the order given.

    Raises:
        TextError: no font draws any of them.
    """
    characters = list(dict.fromkeys(charset))
    drawn = [c for c in characters if any(font.covers(c) for font in fonts)]
    if not any(not c.isspace() for c in drawn):
        shown = "".join(characters[:40]) + ("..." if len(characters) > 40 else "")
        raise TextError(
            f"none of {len(fonts)} fonts draws any character of the charset {shown!r}: "
            f"{font_remedy(characters)}"
        )
    return "".join(drawn), "".join(c for c in characters if c not in set(drawn))


def font_remedy(characters: Iterable[str]) -> str:
    """Return what to do about characters that no font draws."""
    if any(map(needs_shaping, characters)):
        return (
            "scripts that are written right to left or whose letters join need a font of that "
            "script and Pillow with Raqm (docs/synthetic_text.md)"
        )
    return "give fonts of that script, or other texts"


def _edges(what: str, weights: Mapping[str, float], known: set[str]) -> tuple[float, ...]:
    """Return cumulative weights, normalized, for `bisect_right` with a number in [0, 1)."""
    if unknown := set(weights) - known:
        raise TextError(
            f"unknown {what} {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
        )
    total = float(sum(weights.values()))
    if not 0 < total < float("inf") or min(weights.values()) < 0:
        raise TextError(f"weights of {what} {dict(weights)}: expected >= 0 and not all 0")
    edges = [edge / total for edge in accumulate(weights.values())]
    # Rounding may leave the last edge below 1, and a number above it must still find a name.
    last = max(i for i, weight in enumerate(weights.values()) if weight > 0)
    return (*edges[:last], *[1.0] * (len(edges) - last))


@lru_cache(maxsize=64)
def _word_table(
    language: str, allowed: frozenset[str] | None, max_length: int, power: float
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the words within charset and length, and their cumulative probabilities."""
    words, weights = [], []
    for line in (_WORDS / f"{language}.txt").read_text(encoding="utf-8").splitlines():
        word, rarity = line.split("\t")
        characters = graphemes(word)
        if len(characters) <= max_length and (allowed is None or _writable(word, allowed)):
            words.append(word)
            weights.append(10 ** (-int(rarity) / 100 * power))
    if not words:
        raise TextError(
            f"no word of the list {language!r} has at most {max_length} characters, all in the "
            f"charset {''.join(sorted(allowed or ()))!r}: choose another language or leave out the "
            "sources 'words' and 'lines'"
        )
    edges = np.cumsum(weights)
    return tuple(words), (*(edges[:-1] / edges[-1]).tolist(), 1.0)


def _writable(word: str, allowed: frozenset[str]) -> bool:
    """Return whether a lower-case word of a list can be written as it is or in capitals."""
    return allowed.issuperset(graphemes(word)) or allowed.issuperset(graphemes(word.upper()))


@lru_cache(maxsize=8)
def _file_texts(
    path: str, allowed: frozenset[str] | None, min_length: int, max_length: int
) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
    """Read the user's texts that fit, and count the others by reason."""
    source = Path(path)
    try:
        if source.stat().st_size > _MAX_FILE_BYTES:
            raise TextError(f"{path}: more than {_MAX_FILE_BYTES} bytes, expected a list of texts")
        data = source.read_bytes()
    except OSError as error:
        raise TextError(f"{path}: cannot be read: {error}") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise TextError(f"{path}: UTF-16 (Unicode text of Windows): save it as UTF-8")
    texts, left_out = [], Counter[str]()
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            text = " ".join(line.decode("utf-8").split())
        except UnicodeDecodeError as error:
            raise TextError(f"{path}:{number}: not UTF-8: {error}") from error
        characters = graphemes(text)
        if not characters:
            continue
        if len(characters) > max_length:
            left_out[f"longer than {max_length} characters"] += 1
        elif len(characters) < min_length:
            left_out[f"shorter than {min_length}"] += 1
        elif allowed is not None and not allowed.issuperset(characters):
            left_out["with characters outside the charset"] += 1
        else:
            texts.append("".join(characters))
    if not texts:
        raise TextError(
            f"{path}: none of its {left_out.total()} texts has {min_length} to {max_length} "
            "characters" + ("" if allowed is None else " that are all in the charset")
        )
    return tuple(texts), tuple(left_out.items())


def _below(rng: np.random.Generator, count: int) -> int:
    """Return an integer in [0, count); several times faster than `rng.integers`."""
    return int(rng.random() * count)


def _word(rng: np.random.Generator, config: TextConfig, language: str) -> str:
    words, edges = _word_table(language, config._allowed, config.max_length, config.frequency_power)
    return words[bisect_right(edges, rng.random())]


def _language(rng: np.random.Generator, config: TextConfig) -> str:
    return config.languages[_below(rng, len(config.languages))]


def _mixed(text: str, rng: np.random.Generator) -> str:
    upper = rng.random(len(text)) < 0.5
    return "".join(c.upper() if u else c for c, u in zip(text, upper, strict=True))


_CASES: Mapping[str, Callable[[str, np.random.Generator], str]] = {
    "as_is": lambda text, rng: text,
    "lower": lambda text, rng: text.lower(),
    "title": lambda text, rng: text[:1].upper() + text[1:],
    "upper": lambda text, rng: text.upper(),
    "mixed": _mixed,
}


def _cased(text: str, rng: np.random.Generator, config: TextConfig) -> str:
    name = tuple(config.cases)[bisect_right(config._case_edges, rng.random())]
    written = _CASES[name](text, rng)
    # A charset with only one case takes the text in that case.
    for other in (written, text, text.upper()):
        if config._allowed is None or config._allowed.issuperset(other):
            return other
    return written


_MARKS = (
    "{},",
    "{}.",
    "{}!",
    "{}?",
    "{}:",
    "({})",
    '"{}"',
    "'{}'",
    "-{}",
    "{}-",
    "#{}",
    "@{}",
    "&{}",
)


def _words(rng: np.random.Generator, config: TextConfig) -> str:
    text = _cased(_word(rng, config, _language(rng, config)), rng, config)
    if rng.random() < config.punctuation:
        return _MARKS[_below(rng, len(_MARKS))].format(text)
    return text


def _lines(rng: np.random.Generator, config: TextConfig) -> str:
    language = _language(rng, config)
    between = "" if language in _UNSPACED else " "
    count = 2 + _below(rng, 5)
    line = _word(rng, config, language)
    for _ in range(count - 1):
        longer = line + between + _word(rng, config, language)
        if len(graphemes(longer)) > config.max_length:
            break
        line = longer
    line = _cased(line, rng, config)
    if rng.random() < config.punctuation:
        line += ".!?:"[_below(rng, 4)]
    return line


def _digits(rng: np.random.Generator, count: int) -> str:
    return "".join(map(str, (rng.random(count) * 10).astype(int).tolist()))


def _filled(rng: np.random.Generator, template: str) -> str:
    """Fill a template: A a capital letter, a a lower-case letter, 0 a digit, the rest literal."""
    out = []
    for mark in template:
        if mark == "A":
            mark = string.ascii_uppercase[_below(rng, 26)]
        elif mark == "a":
            mark = string.ascii_lowercase[_below(rng, 26)]
        elif mark == "0":
            mark = string.digits[_below(rng, 10)]
        out.append(mark)
    return "".join(out)


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[_below(rng, len(choices))]


def _number(rng: np.random.Generator) -> int:
    """Return a positive number of one to six digits; all lengths are equally likely."""
    low = 10 ** _below(rng, 6)
    return low + _below(rng, 9 * low)


def _numbers(rng: np.random.Generator, config: TextConfig) -> str:
    number = _number(rng)
    kind = _below(rng, 9)
    if kind == 0:
        return f"{number:,}"
    if kind == 1:
        return f"{number / 10 ** (1 + _below(rng, 3)):.{1 + _below(rng, 2)}f}"
    if kind == 2:
        return f"{_below(rng, 101)}%"
    if kind == 3:
        return _filled(
            rng, _one(rng, ("000-0000", "(000) 000-0000", "+00 000 000000", "0000 000000"))
        )
    if kind == 4:
        return _digits(rng, 1 + _below(rng, 10))
    if kind == 5:
        return f"{_below(rng, 100)}-{_below(rng, 100)}"
    return str(number)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _dates(rng: np.random.Generator, config: TextConfig) -> str:
    day, month, year = 1 + _below(rng, 28), 1 + _below(rng, 12), 1950 + _below(rng, 90)
    hour, minute = _below(rng, 24), _below(rng, 60)
    forms = (
        f"{day:02}/{month:02}/{year}",
        f"{day}.{month}.{year}",
        f"{year}-{month:02}-{day:02}",
        f"{month}/{day}/{year % 100:02}",
        f"{day} {_MONTHS[month - 1]} {year}",
        f"{_MONTHS[month - 1].upper()} {day}",
        f"{hour:02}:{minute:02}",
        f"{1 + hour % 12}:{minute:02} {_one(rng, ('am', 'pm', 'AM', 'PM'))}",
        str(year),
    )
    return _one(rng, forms)


def _prices(rng: np.random.Generator, config: TextConfig) -> str:
    whole, cents = _below(rng, 10 ** (1 + _below(rng, 4))), _one(rng, ("00", "50", "95", "99", ""))
    if not cents:
        cents = f"{_below(rng, 100):02}"
    forms = (
        f"${whole}.{cents}",
        f"${whole}",
        f"£{whole}.{cents}",
        f"€{whole}.{cents}",
        f"{whole},{cents} €",
        f"{whole}.{cents}",
        f"{whole},-",
    )
    return _one(rng, forms)


def _codes(rng: np.random.Generator, config: TextConfig) -> str:
    marks = ("AA", "00", "A0", "000", "AAA", "0000", "A00", "a0a0", "aaa")
    parts = [_one(rng, marks) for _ in range(1 + _below(rng, 4))]
    return _filled(rng, _one(rng, ("-", "/", "", ".", "_", " ")).join(parts))


_ENDINGS = (".com", ".org", ".net", ".de", ".co.uk", ".io", ".fr", ".info", ".eu", ".edu")


def _ascii_word(rng: np.random.Generator) -> str:
    words, edges = _word_table("en", None, 12, 0.3)
    return words[bisect_right(edges, rng.random())].replace("'", "")


def _emails(rng: np.random.Generator, config: TextConfig) -> str:
    name = _ascii_word(rng)
    if rng.random() < 0.4:
        name += _one(rng, (".", "_", "")) + _one(rng, (_ascii_word(rng), _digits(rng, 2)))
    return f"{name}@{_ascii_word(rng)}{_one(rng, _ENDINGS)}"


def _urls(rng: np.random.Generator, config: TextConfig) -> str:
    start = _one(rng, ("www.", "www.", "http://", "https://", ""))
    path = f"/{_ascii_word(rng)}" if rng.random() < 0.25 else ""
    return f"{start}{_ascii_word(rng)}{_one(rng, _ENDINGS)}{path}"


def _plates(rng: np.random.Generator, config: TextConfig) -> str:
    out = []
    for mark in _one(rng, config.plates):
        out.append(_filled(rng, mark) if mark in "A0" else mark)
    return "".join(out)


def _random(rng: np.random.Generator, config: TextConfig) -> str:
    longest = min(config.max_length, max(10, config.min_length))
    count = config.min_length + _below(rng, longest - config.min_length + 1)
    places = (rng.random(count) * len(config._alphabet)).astype(int).tolist()
    return "".join(config._alphabet[place] for place in places)


def _characters(rng: np.random.Generator, config: TextConfig) -> str:
    return config._alphabet[_below(rng, len(config._alphabet))]


def _file(rng: np.random.Generator, config: TextConfig) -> str:
    assert config.file is not None
    texts, _ = _file_texts(config.file, config._allowed, config.min_length, config.max_length)
    return texts[_below(rng, len(texts))]


_MAKERS: Mapping[str, Callable[[np.random.Generator, TextConfig], str]] = {
    "words": _words,
    "lines": _lines,
    "numbers": _numbers,
    "dates": _dates,
    "prices": _prices,
    "codes": _codes,
    "emails": _emails,
    "urls": _urls,
    "plates": _plates,
    "random": _random,
    "characters": _characters,
    "file": _file,
}
