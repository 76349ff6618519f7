"""A review session: the words to check, the changes, and a journal of them.

Every change is a line of the journal, which is on disk before the change takes effect. A killed
review resumes: the lines are applied again to the original labels. An incomplete last line is a
change that was never confirmed, and is dropped.

Host code: no jax.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ocrcore.data.readers.label_lines import MAX_COORDINATE
from ocrcore.files import json_line, write_bytes
from ocrcore.pages import FloatArray, LabelError, Page, Word

ACTIONS = ("accept", "text", "quad", "ignore", "remove", "add", "undo")
"""The actions on a word: accept it, change its text or quad, mark it as don't care, remove it, add
one; and undo the last change."""
_FORMAT = "ocrjax review 1"
_LONGEST = 10_000  # most characters of a text
Key = tuple[int, int]
"""A word: the number of its page, and its index on the page."""


class EditError(ValueError):
    """An invalid change; the message says why."""


class ConflictError(EditError):
    """A change of a word that was changed in another tab since it was shown."""


@dataclass(frozen=True, slots=True)
class Item:
    """A word to check.

    Attributes:
        page: number of its page.
        word: index on the page; None: a place where a label may be missing.
        why: why it is shown.
        read: the recognizer's reading; None if there is none.
        quad: `(4, 2)`, quad of a place without a label.
    """

    page: int
    word: int | None
    why: str = ""
    read: str | None = None
    quad: FloatArray | None = None


class Session:
    """Labels under review.

    The first line of the journal stores the words to check and predicted words: resuming a review
    needs no network.

    Args:
        labels: the original labels.
        journal: file of the changes; existing changes are applied.
        prepare: called for a new review; returns the pages, unchanged or with predicted words, and
            the words to check, the most doubtful first.

    Raises:
        LabelError: the journal belongs to other labels, or is damaged.
        OSError: the journal cannot be written.

    Attributes:
        pages: the pages at the start of the review.
        items: the words to check; added words follow them.
        edits: number of changes.
        keys: number of key presses for them.
    """

    def __init__(
        self,
        labels: Sequence[Page],
        journal: Path,
        prepare: Callable[[], tuple[Sequence[Page], Sequence[Item]]],
    ) -> None:
        self.journal = Path(journal)
        self.pages: list[Page] = []
        self.items: list[Item] = []
        self.edits = self.keys = 0
        self._words: list[list[Word | None]] = []
        self._places: dict[Key, FloatArray] = {}
        self._numbers: dict[Key, int] = {}  # index in `items`
        self._versions: dict[Key, int] = {}
        self._done: set[Key] = set()
        self._history: list[tuple[Key, Word | None, bool]] = []
        self._lock = Lock()
        self._size = self._open(labels, prepare)

    def edit(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Write a change to the journal, then apply it.

        Args:
            change: `action`, one of `ACTIONS`; `page` (except for "undo"), `word` and `version` of
                the word as it was shown (except for "undo" and "add"); `text`; `quad`, four corners
                `(x, y)`; `keys`, the number of key presses.

        Returns:
            The word after the change; see `state`.

        Raises:
            EditError: the change is invalid.
            ConflictError: the word has changed since it was shown.
        """
        with self._lock:
            ready = self._check(change)
            self._write((json_line(ready) + "\n").encode())
            return self._apply(ready)

    def state(self, page: int, word: int) -> dict[str, Any]:
        """Return a word as JSON values: `text`, `quad`, `care`, `removed`, `done`, `version`."""
        key = page, word
        now = self._words[page][word]
        number = self._numbers.get(key)
        item = None if number is None else self.items[number]
        return {
            "page": page,
            "word": word,
            "text": None if now is None else now.text,
            "care": now is not None and now.care,
            "removed": now is None,
            "quad": self._places[key].tolist(),
            "done": key in self._done,
            "version": self._versions.get(key, 0),
            "why": item.why if item else "",
            "read": item.read if item else None,
        }

    def words_of(self, page: int) -> list[dict[str, Any]]:
        """Return all words of a page, as `state` does."""
        with self._lock:
            return [self.state(page, word) for word in range(len(self._words[page]))]

    def states(self) -> list[dict[str, Any]]:
        """Return all words to check, in order."""
        with self._lock:
            return [self.state(*key) for key in self._numbers]

    def result(self) -> list[Page]:
        """Return the labels after all changes."""
        with self._lock:
            return [
                page.with_words([word for word in words if word is not None])
                for page, words in zip(self.pages, self._words, strict=True)
            ]

    def _check(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Validate a change; return the fields to write."""
        action = change.get("action")
        if action not in ACTIONS:
            raise EditError(f"action is {action!r}, expected one of {', '.join(ACTIONS)}")
        keys = change.get("keys", 0)
        if isinstance(keys, bool) or not isinstance(keys, int) or not 0 <= keys < 1 << 20:
            raise EditError(f"keys is {keys!r}, expected a number")
        if action == "undo":
            if not self._history:
                raise EditError("nothing to undo")
            return {"action": action, "keys": keys}
        page = _index(change.get("page"), len(self.pages), "page")
        out: dict[str, Any] = {"action": action, "page": page, "keys": keys}
        if action != "add":
            word = _index(change.get("word"), len(self._words[page]), "word")
            version = self._versions.get((page, word), 0)
            if change.get("version") != version:
                raise ConflictError("the word has changed since it was shown: check it again")
            out |= {"word": word, "version": version}
        if action in ("text", "add"):
            out["text"] = _text(change.get("text", ""), may_be_empty=action == "add")
        if action in ("quad", "add"):
            out["quad"] = _quad(change.get("quad"))
        if action in ("ignore", "quad") and self._words[page][out["word"]] is None:
            raise EditError("there is no word here yet: type its text first")
        return out

    def _apply(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Apply a validated change."""
        action = change["action"]
        self.edits += 1
        self.keys += change.get("keys", 0)
        if action == "undo":
            key, before, done = self._history.pop()
            self._set(key, before, done)
            return self.state(*key)
        page = change["page"]
        words = self._words[page]
        if action == "add":
            key = page, len(words)
            self._add_item(Item(page, None, "added", quad=np.array(change["quad"], np.float32)))
        else:
            key = page, change["word"]
        now = words[key[1]]
        self._history.append((key, now, key in self._done))
        done = key in self._done or action not in ("quad", "add")
        if action == "text":
            word = now or Word(self._places[key])
            now = replace(word, text=change["text"], care=True, characters=(), confidence=None)
        elif action == "quad" and now is not None:
            quad = np.array(change["quad"], np.float32)
            now = replace(now, quad=quad, polygon=None, characters=())
        elif action == "ignore" and now is not None:
            now = replace(now, care=False)
        elif action == "remove":
            now = None
        elif action == "add":
            now = Word(np.array(change["quad"], np.float32), change["text"] or None)
        elif action == "accept" and now is not None:
            now = replace(now, confidence=None, score=None)
        self._set(key, now, done)
        return self.state(*key)

    def _set(self, key: tuple[int, int], word: Word | None, done: bool) -> None:
        self._words[key[0]][key[1]] = word
        if word is not None:
            self._places[key] = word.quad
        self._versions[key] = self._versions.get(key, 0) + 1
        (self._done.add if done else self._done.discard)(key)

    def _begin(self, pages: Sequence[Page], items: Sequence[Item]) -> None:
        self.pages = list(pages)
        self._words = [list(page.words) for page in pages]
        self._places = {
            (number, index): word.quad
            for number, page in enumerate(pages)
            for index, word in enumerate(page.words)
        }
        for item in items:
            self._add_item(item)

    def _add_item(self, item: Item) -> None:
        words = self._words[item.page]
        index = item.word
        if index is None:  # not a word until a person confirms it
            assert item.quad is not None
            index = len(words)
            words.append(None)
            self._places[item.page, index] = item.quad
        self._numbers[item.page, index] = len(self.items)
        self.items.append(item)

    def _open(
        self,
        labels: Sequence[Page],
        prepare: Callable[[], tuple[Sequence[Page], Sequence[Item]]],
    ) -> int:
        """Apply the changes of the journal, or start a new one; return its size."""
        data = self.journal.read_bytes() if self.journal.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if data and not whole:  # the first line is written atomically
            shown = data[:60].decode(errors="replace")
            raise LabelError(
                self.journal, 1, shown, "a journal of a review: give --out another name"
            )
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                value = json.loads(line)
                if number > 1:
                    self._apply(self._check(value))
                    continue
                if value["format"] != _FORMAT or value["labels"] != digest_of(labels):
                    raise EditError("it belongs to other labels or another version")
                pages = [Page.from_dict(page) for page in value["pages"]] or labels
                self._begin(pages, [_item_of(one) for one in value["items"]])
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                shown = line[:60].decode(errors="replace")
                raise LabelError(
                    self.journal,
                    number,
                    shown,
                    f"the changes of a review of these labels ({error}); choose another --out, or "
                    "review the labels that it belongs to",
                ) from error
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        if not whole:
            pages, items = prepare()
            self._begin(pages, items)
            head = {
                "format": _FORMAT,
                "labels": digest_of(labels),
                "pages": [] if pages is labels else [page.to_dict() for page in pages],
                "items": [_item_values(item) for item in items],
            }
            whole = (json_line(head) + "\n").encode()
            write_bytes(self.journal, whole)
        os.truncate(self.journal, len(whole))
        return len(whole)

    def _write(self, line: bytes) -> None:
        """Append a line to the journal."""
        with self.journal.open("r+b") as file:
            if file.seek(0, os.SEEK_END) != self._size:
                raise EditError(f"another review is writing to {self.journal}: end one of them")
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(line)


def _item_values(item: Item) -> dict[str, Any]:
    quad = None if item.quad is None else item.quad.tolist()
    return {"page": item.page, "word": item.word, "why": item.why, "read": item.read, "quad": quad}


def _item_of(values: Mapping[str, Any]) -> Item:
    quad = None if values["quad"] is None else np.array(values["quad"], np.float32).reshape(4, 2)
    return Item(values["page"], values["word"], values["why"], values["read"], quad)


def digest_of(pages: Sequence[Page]) -> str:
    """Return a digest of image names and all words, which identifies the labels."""
    digest = hashlib.sha256()
    for page in pages:
        words = json_line([word.to_dict() for word in page.words])
        digest.update(
            f"{Path(str(page.path)).name}\0{page.height}x{page.width}\0{words}\n".encode(
                errors="surrogateescape"
            )
        )
    return digest.hexdigest()[:32]


def _index(value: Any, count: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        raise EditError(f"{what} is {value!r}, expected a number below {count}")
    return value


def _text(value: Any, *, may_be_empty: bool) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise EditError(f"text is {str(value)[:60]!r}, expected a string")
    text = " ".join(value.split())
    if not text and not may_be_empty:
        raise EditError("the text is empty: mark a word that nobody can read as don't care")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise EditError("the text holds half a character (a lone surrogate)") from error
    return text


def _quad(value: Any) -> list[list[float]]:
    try:
        quad = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise EditError("quad: expected four corners (x, y)") from error
    if quad.shape != (4, 2) or not (np.abs(quad) <= MAX_COORDINATE).all():
        raise EditError("quad: expected four corners (x, y), in pixels")
    if min(np.ptp(quad, axis=0)) < 1:
        raise EditError("quad: less than a pixel wide or high")
    return [[float(x), float(y)] for x, y in np.round(quad, 2)]
