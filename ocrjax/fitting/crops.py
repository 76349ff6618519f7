"""Word crops of each part of the split, and the charset for their texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from crnnjax.charset import Charset, CharsetError, named, normalized
from crnnjax.recognizer import load_recognizer
from ocrcore.files import write_text
from ocrcore.images import read_image, write_image
from ocrcore.progress import shown
from ocrcore.text import visible_graphemes
from ocrjax.crops import rectify
from ocrjax.fitting.options import FitOptions
from ocrjax.fitting.pictures import PARTS, pages_of_part

_MANY = 1000  # characters; pretrained weights with more than these cover many scripts
_ENGLISH = "en95"
_TALL = 1.5  # height / width of words that may run vertically


@dataclass(frozen=True, slots=True)
class Cut:
    """Crops of one part.

    Attributes:
        count: number of crops.
        characters: how often each character occurs in their texts.
        left_out: number of words that count but were left out, by reason.
    """

    count: int
    characters: Counter[str]
    left_out: Counter[str]


def labels_of(out: Path, part: str) -> Path:
    """Return the path of a part's label list: lines of a path, a tab and a text."""
    return out / "data" / "crops" / part / "labels.tsv"


def cut_words(out: Path, part: str, *, height: int) -> Cut:
    """Cut all words that count out of a part, as `Reader` does, and write `labels.tsv`.

    Args:
        out: the output folder.
        part: one of `PARTS`.
        height: the height that the recognizer scales crops to.
    """
    file = labels_of(out, part)
    lines, characters, left_out = [], Counter[str](), Counter[str]()
    for index, page in enumerate(
        shown(pages_of_part(out, part), f"cutting words of {part}", unit="image")
    ):
        image = read_image(str(page.path))
        for number, word in enumerate(page.words):
            if not word.care:
                continue
            text = normalized(" ".join((word.text or "").split()))
            crop = rectify(image, word.quad, height=height) if visible_graphemes(text) else None
            if not visible_graphemes(text):
                left_out["without text"] += 1
            elif crop is None:
                left_out["with a quad that gives no crop"] += 1
            elif crop.shape[0] >= _TALL * crop.shape[1] and len(text) > 1:
                left_out["that may run vertically"] += 1
            else:
                name = f"{index:06}_{number:03}.png"
                write_image(file.parent / name, crop)
                lines.append(f"{name}\t{text}\n")
                characters.update(text)
    write_text(file, "".join(lines))
    return Cut(len(lines), characters, left_out)


def cut_parts(out: Path, options: FitOptions) -> dict[str, Cut]:
    """Cut the words of all parts."""
    height = load_recognizer(options.recognizer).height
    return {part: cut_words(out, part, height=height) for part in PARTS}


def choose_charset(options: FitOptions, characters: Counter[str]) -> tuple[Charset, str]:
    """Return the characters to read, and how they were chosen, for the user.

    Args:
        options: the user's options.
        characters: characters of the texts to train on.

    Raises:
        CharsetError: there is no such charset.
    """
    start = load_recognizer(options.recognizer).charset
    if options.charset:
        return named(options.charset), f"--charset {options.charset}"
    base = start if len(start.characters) <= _MANY else named(_ENGLISH)
    missing = sorted(base.missing("".join(characters)))
    more = [c for c in missing if normalized(c) == c]
    if not more:
        return base, f"those of {base.name}"
    try:
        charset = Charset(
            options.name, (*base.characters, *more), base.case_insensitive, base.as_is
        )
    except CharsetError:
        return base, f"those of {base.name}"
    return charset, f"those of {base.name} and {''.join(more)!r} from the labels"


def known_part(charset: Charset, options: FitOptions) -> Charset:
    """Return the characters of a charset that the pretrained weights can read."""
    start = load_recognizer(options.recognizer).charset
    lacking = start.missing("".join(charset.characters))
    if not lacking:
        return charset
    kept = tuple(c for c in charset.characters if c not in lacking)
    return Charset(f"{charset.name}_known", kept, charset.case_insensitive, charset.as_is)
