"""Faults in the characters of a text, and the text as it was probably meant."""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache

from ocrcore.text import needs_shaping

_MARKUP = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});")
_PARTS = re.compile(r"[^\W\d_]+")
# Cyrillic letters that look like Latin ones, with their look-alikes.
_CYRILLIC = dict(zip("АВЕЅІЈКМНОРСТХУаеѕіјорсху", "ABESIJKMHOPCTXYaesijopcxy", strict=True))
_GREEK = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEZHIKMNOPTYXo", strict=True))
_LATIN = _CYRILLIC | _GREEK
_BACK = {
    "CYRILLIC": {latin: letter for letter, latin in _CYRILLIC.items()},
    "GREEK": {latin: letter for letter, latin in _GREEK.items()},
}
_JOINERS = "\u200c\u200d"
# Format characters (category Cf) that are visible: they enclose the digits after them.
_SEEN = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
_WIDE = {point: point - 0xFEE0 for point in range(0xFF01, 0xFF5F)}


def text_faults(text: str) -> list[tuple[str, str]]:
    """Find characters that a label should not have.

    Args:
        text: the text of a word.

    Returns:
        Kinds of `ocrjax.labels.findings.KINDS`, each once, with an explanation.
    """
    if text.isascii() and text.isprintable() and "&" not in text and "  " not in text:
        return []
    found: dict[str, str] = {}
    if (meant := _decoded(text)) != text:
        found["wrong encoding"] = f"UTF-8 that was read as Windows-1252: {meant!r}?"
    if _MARKUP.search(text):
        found["markup"] = f"an HTML entity: {html.unescape(text)!r}?"
    if " ".join(text.split()) != text:
        found["unusual space"] = "white space other than single spaces"
    for character in text:
        name = f"U+{ord(character):04X} {unicodedata.name(character, '')}".strip()
        category = unicodedata.category(character)
        if character == "\ufffd" or category in ("Co", "Cn", "Cs"):
            found.setdefault("lost characters", f"{name}: stands for a lost character")
        elif category == "Cc" and not character.isspace():
            found.setdefault("control character", f"{name} is invisible")
        elif _is_idle(character, text):
            found.setdefault("zero-width character", f"{name} is invisible")
        elif _is_wide(character, text):
            found.setdefault("full-width character", f"{name} instead of {_narrow(character)!r}")
    if not unicodedata.is_normalized("NFC", text):
        found["not NFC"] = "a character is written as several code points"
    if "wrong encoding" not in found and (mixed := _mixed(text)):
        found["mixed scripts"] = mixed
    return list(found.items())


def cleaned(text: str) -> str:
    """Return the text without the faults of `text_faults` that can be repaired."""
    text = html.unescape(_decoded(text)) if _MARKUP.search(_decoded(text)) else _decoded(text)
    kept = (
        _narrow(character) if _is_wide(character, text) else character
        for character in text
        if character.isspace()
        or not (unicodedata.category(character) == "Cc" or _is_idle(character, text))
    )
    joined = " ".join("".join(kept).split())
    return unicodedata.normalize("NFC", _PARTS.sub(lambda found: _one_script(found[0]), joined))


def _decoded(text: str) -> str:
    """The text, decoded again if UTF-8 was read as Windows-1252."""
    if text.isascii():
        return text
    try:
        return text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return text


def _is_idle(character: str, text: str) -> bool:
    """Whether a character has no width and no effect on its neighbors."""
    if unicodedata.category(character) != "Cf" or character in _SEEN:
        return False
    # Joiners change the shape of letters in some scripts, and of emoji.
    if character in _JOINERS:
        return not any(needs_shaping(c) or unicodedata.category(c) == "So" for c in text)
    return True


def _is_wide(character: str, text: str) -> bool:
    """Whether a character is a full-width ASCII character, except punctuation in CJK text."""
    if ord(character) not in _WIDE:
        return False
    return _narrow(character).isalnum() or not any(
        unicodedata.east_asian_width(c) == "W" for c in text
    )


def _narrow(character: str) -> str:
    return chr(_WIDE[ord(character)])


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]


def _mixed(text: str) -> str:
    """Say which letters of a word are of another script than the others; empty for none."""
    for part in _PARTS.findall(text):
        scripts = {script for c in part if (script := _script(c)) in ("LATIN", *_BACK)}
        if len(scripts) > 1 and (meant := _one_script(part)) != part:
            pairs = zip(part, meant, strict=True)
            odd = next((old, new) for old, new in pairs if old != new)
            return f"{unicodedata.name(odd[0])} in a word of another script: {meant!r}?"
    return ""


def _one_script(part: str) -> str:
    """A run of letters in one script, if all letters of the other have look-alikes in it."""
    latin = [c for c in part if _script(c) == "LATIN"]
    for script, back in _BACK.items():
        others = [c for c in part if _script(c) == script]
        if not latin or not others:
            continue
        if len(latin) >= len(others) and all(c in _LATIN for c in others):
            part = "".join(_LATIN[c] if _script(c) == script else c for c in part)
        elif len(latin) < len(others) and all(c in back for c in latin):
            part = "".join(back.get(c, c) for c in part)
    return part
