"""Pseudo labels of many pages for the loader, in one compact file.

Host code: no jax.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ocrcore.files import replacing
from ocrcore.pages import Character, FloatArray, Page

Ints = NDArray[np.int64]

_MEMBERS = ("sources", "pages", "words", "scores", "quads", "origin")


class LabelSetError(ValueError):
    """A file without pseudo labels, or with those of other pages; the message names it."""


@dataclass(frozen=True, eq=False)
class LabelSet:
    """Pseudo labels of pages of one or several data sets.

    Attributes:
        sources: names of the data sets.
        pages: `(P, 3)` int64: data set, index of the page in it, `mark` of its words; in ascending
            order. Pages whose words could not be labeled are included.
        words: `(W, 3)` int64: row of `pages`, index of the word on its page, number of characters;
            in ascending order.
        scores: `(W, 3)` float32: confidence, whether the word was split without the scores (0 or
            1), mean region score of the crop.
        quads: `(C, 4, 2)` float32, the characters of all words, in pixels of their pages.
        origin: how the labels were made, as JSON; labels of different origin are never mixed.
    """

    sources: tuple[str, ...]
    pages: Ints
    words: Ints
    scores: FloatArray
    quads: FloatArray
    origin: str = "{}"

    @cached_property
    def _rows(self) -> dict[tuple[str, int], int]:
        return {
            (self.sources[source], index): row
            for row, (source, index, _) in enumerate(self.pages.tolist())
        }

    @cached_property
    def _ends(self) -> tuple[Ints, Ints]:
        """Offsets of the words of each page and of the characters of each word, with the end."""
        first = np.searchsorted(self.words[:, 0], np.arange(len(self.pages) + 1))
        return first, np.concatenate([[0], np.cumsum(self.words[:, 2])])

    def indices(self, source: str) -> list[int]:
        """Return the indices of the labeled pages of a data set, in ascending order."""
        return [index for name, index in self._rows if name == source]

    def attach(self, source: str, index: int, page: Page) -> Page | None:
        """Add characters to the words of a page, with the confidence as `score`.

        Args:
            source: name of the data set.
            index: index of the page in it.
            page: the page with its word labels.

        Returns:
            The page, where words without pseudo labels are unchanged; None if the page is not in
            this set.

        Raises:
            LabelSetError: the page has other words than when it was labeled.
        """
        row = self._rows.get((source, index))
        if row is None:
            return None
        if mark(page) != self.pages[row, 2]:
            raise LabelSetError(
                f"{page.path}: its {len(page.words)} words have changed since the pseudo labels of "
                f"page {index} of {source} were made: remove the folder `pseudo` of the run to "
                "make them again"
            )
        words = list(page.words)
        first, start = self._ends
        for at in range(int(first[row]), int(first[row + 1])):
            number = int(self.words[at, 1])
            quads = self.quads[start[at] : start[at + 1]]
            words[number] = replace(
                words[number],
                characters=tuple(Character("", quad) for quad in quads),
                score=float(self.scores[at, 0]),
            )
        return page.with_words(words)

    def stats(self) -> dict[str, float]:
        """Return statistics of the labels, for the log and the collapse guards.

        Returns:
            `words`, their number; and means over them, if there are any: `confidence`; `equal`, the
            share that was split without the scores; `mass`, the region score of a crop.
        """
        found = {"words": float(len(self.words))}
        if len(self.words):
            means = self.scores.mean(axis=0, dtype=np.float64).tolist()
            found |= dict(zip(("confidence", "equal", "mass"), means, strict=True))
        return found

    def save(self, path: str | Path) -> None:
        """Write the set to one file, atomically."""
        arrays: dict[str, Any] = {name: np.asarray(getattr(self, name)) for name in _MEMBERS}
        with replacing(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> LabelSet:
        """Read what `save` wrote.

        Raises:
            LabelSetError: the file is missing, damaged or not such a file.
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as members:
                arrays = {name: members[name] for name in _MEMBERS}
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise LabelSetError(f"{path}: not a file of pseudo labels: {error}") from error
        sources, origin = tuple(arrays.pop("sources").tolist()), str(arrays.pop("origin"))
        return cls(sources, **arrays, origin=origin)


def mark(page: Page) -> int:
    """Return a 63-bit digest of the words of a page: quads, texts and care."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (page.quads.tobytes(), page.care.tobytes(), repr([w.text for w in page.words])):
        digest.update(part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest(), "little") >> 1


def join(sets: Sequence[LabelSet]) -> LabelSet:
    """Join sets; for a page that is in several sets the last one counts."""
    names = tuple(dict.fromkeys(name for one in sets for name in one.sources))
    chosen: dict[tuple[int, int], tuple[LabelSet, int]] = {}
    for one in sets:
        for (name, index), row in one._rows.items():
            chosen[names.index(name), index] = one, row
    pages: list[tuple[int, int, int]] = []
    words, scores, quads = [], [], []
    for (source, index), (one, row) in sorted(chosen.items(), key=lambda item: item[0]):
        first, start = one._ends
        part = slice(first[row], first[row + 1])
        renamed = one.words[part].copy()
        renamed[:, 0] = len(pages)
        pages.append((source, index, int(one.pages[row, 2])))
        words.append(renamed)
        scores.append(one.scores[part])
        quads.append(one.quads[start[part.start] : start[part.stop]])
    return make(names, pages, words, scores, quads)


def make(
    sources: Sequence[str],
    pages: Sequence[tuple[int, int, int]],
    words: Sequence[NDArray[np.int64] | tuple[int, int, int]],
    scores: Sequence[FloatArray | tuple[float, float, float]],
    quads: Sequence[FloatArray],
) -> LabelSet:
    """Build a set from rows, or from arrays of rows; see `LabelSet` for their content."""
    return LabelSet(
        tuple(sources),
        np.array(pages, np.int64).reshape(-1, 3),
        np.vstack([np.zeros((0, 3), np.int64), *words]),
        np.vstack([np.zeros((0, 3), np.float32), *scores]).astype(np.float32),
        np.concatenate([np.zeros((0, 4, 2), np.float32), *quads]).astype(np.float32),
    )
