"""Packed data sets, as written by `ocrcore.data.packing`: the same samples that were packed.

For each split (`train`, `test`) a folder holds

* `NAME-SPLIT.array_record-NNNNN-of-NNNNN`: `tf.train.Example` records, in the order of the set;
* `packed-SPLIT.json`: what was packed, and the number of records in each file;
* `faults-SPLIT.jsonl`: the samples that could not be packed, and why. Reading one of them raises
  the same error as reading it unpacked, so that indices, and all that depends on them, stay valid;
* `features.json`, `dataset_info.json`: for TensorFlow Datasets.

A record has these features, for N words with C characters and P outline points in total:

* `image`: the image file, byte for byte;
* `path`: path of the image, relative to the folder of the set;
* `words/quad` `(N, 4, 2)`, `words/text`, `words/has_text` (0: the text is unknown),
  `words/care`, `words/line` (-1: unknown), `words/points` (points of the outline; 0: only a quad);
* `points` `(P, 2)`: the outlines, word by word;
* `characters/quad` `(C, 4, 2)`, `characters/text`, `characters/word` (index of its word).

Scores, confidences, paragraphs and languages are not stored, because training does not use them.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ocrcore.data.readers.arrayrecord import RecordFiles
from ocrcore.data.readers.example import decode_example, encode_example
from ocrcore.images import ImageError, decode_image
from ocrcore.pages import Character, LabelError, Page, PageError, Sample, Word

FORM = 1
"""Version of the format described in this module."""
_FLOATS = {"words/quad": (4, 2), "points": (2,), "characters/quad": (4, 2)}
_INTEGERS = ("words/has_text", "words/care", "words/line", "words/points", "characters/word")
_TEXTS = ("image", "path", "words/text", "characters/text")


def shard_name(name: str, split: str, shard: int, shards: int) -> str:
    """Return the name of a record file, as in TensorFlow Datasets."""
    return f"{name}-{split}.array_record-{shard:05d}-of-{shards:05d}"


def encode_packed(image: bytes, page: Page, path: str) -> bytes:
    """Return the record of an image file and its labels; `path` replaces the page's path."""
    words = page.words
    characters = [(number, c) for number, word in enumerate(words) for c in word.characters]
    polygons = [word.polygon for word in words if word.polygon is not None]
    return encode_example(
        {
            "image": [image],
            "path": [_encoded(path)],
            "words/quad": page.quads,
            "words/text": [_encoded(word.text or "") for word in words],
            "words/has_text": np.array([word.text is not None for word in words], np.bool_),
            "words/care": page.care,
            "words/line": np.array([-1 if w.line is None else w.line for w in words], np.int64),
            "words/points": np.array(
                [0 if w.polygon is None else len(w.polygon) for w in words], np.int64
            ),
            "points": np.concatenate([np.zeros((0, 2), np.float32), *polygons]),
            "characters/quad": np.array([c.quad for _, c in characters], np.float32),
            "characters/text": [_encoded(c.text) for _, c in characters],
            "characters/word": np.array([number for number, _ in characters], np.int64),
        }
    )


def decode_packed(record: bytes, *, name: str = "record") -> tuple[bytes, tuple[Word, ...], str]:
    """Inverse of `encode_packed`; the image is not decoded.

    Returns:
        The encoded image, the words, and the path.

    Raises:
        LabelError: not such a record; the message begins with `name`.
    """
    features: dict[str, Any] = dict(decode_example(record, name=name))
    try:
        return _parts(features)
    except (KeyError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise LabelError(name, 0, what, "a record of a packed data set") from error


def _parts(features: dict[str, Any]) -> tuple[bytes, tuple[Word, ...], str]:
    texts: dict[str, list[bytes]] = {}
    for key in _TEXTS:
        texts[key] = features[key]
        if not isinstance(texts[key], list):
            raise ValueError(f"{key} holds numbers")
    arrays: dict[str, NDArray[Any]] = {}
    for key in (*_FLOATS, *_INTEGERS):
        # Writers that do not know the type of an empty list store it as bytes.
        value = features[key] if len(features[key]) else np.zeros(0)
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{key} holds bytes")
        if key in _INTEGERS and len(value) and value.dtype.kind != "i":
            raise ValueError(f"{key} holds fractions")
        arrays[key] = value.reshape(-1, *_FLOATS.get(key, ()))
    counts = {key: len(value) for key, value in texts.items()}
    counts |= {key: len(value) for key, value in arrays.items()}
    for one, others in (("words/text", "words/"), ("characters/text", "characters/")):
        for key, count in counts.items():
            if key.startswith(others) and count != counts[one]:
                raise ValueError(f"{count} values of {key} for {counts[one]} of {one}")
    if counts["image"] != 1 or counts["path"] != 1:
        raise ValueError(f"{counts['image']} images and {counts['path']} paths, expected 1 and 1")
    owners = arrays["characters/word"].astype(np.int64)
    number = counts["words/text"]
    if len(owners) and not (0 <= owners[0] <= owners[-1] < number and (np.diff(owners) >= 0).all()):
        raise ValueError(f"characters of words {owners.tolist()}, but there are {number} words")
    points = arrays["words/points"].astype(np.int64)
    if (points < 0).any() or (points > counts["points"]).any() or points.sum() != counts["points"]:
        raise ValueError(f"{counts['points']} points for outlines of {points.tolist()} points")

    characters = Character.many(
        [_decoded(text) for text in texts["characters/text"]], arrays["characters/quad"]
    )
    ends = np.searchsorted(owners, np.arange(number), side="right").tolist()
    outlines = np.split(arrays["points"], np.cumsum(points)[:-1]) if number else []
    words = tuple(
        Word(
            quad=arrays["words/quad"][k],
            text=_decoded(texts["words/text"][k]) if arrays["words/has_text"][k] else None,
            polygon=outlines[k] if points[k] else None,
            care=bool(arrays["words/care"][k]),
            characters=characters[ends[k - 1] if k else 0 : ends[k]],
            line=int(arrays["words/line"][k]) if arrays["words/line"][k] >= 0 else None,
        )
        for k in range(number)
    )
    return texts["image"][0], words, _decoded(texts["path"][0])


class PackedSamples(Sequence[Sample]):
    """The samples of a split of a packed data set, with the indices they had before packing.

    It can be pickled, and read from threads.

    Args:
        folder: the packed folder.
        root: folder to prepend to the paths of images, to restore the original paths.
        split: name of the split.

    Attributes:
        source: description of what was packed, as passed to `ocrcore.data.packing.pack`.
        start: the first index.
        complete: whether the set was packed to its end.
        faults: number of samples that could not be packed, by reason.

    Raises:
        LabelError: the folder does not hold such a set, or only a part of it.
    """

    def __init__(self, folder: str | Path, *, root: str | Path = "", split: str = "train") -> None:
        self.folder, self.root, self.split = Path(folder), Path(root), split
        path = self.folder / f"packed-{split}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["form"] != FORM:
                raise LabelError(path, 0, f"form {found['form']}", f"form {FORM}: pack it again")
            self.source: dict[str, Any] = dict(found["source"])
            self.start, self._stop = int(found["start"]), int(found["stop"])
            self.complete = bool(found["complete"])
            counts = [int(count) for count in found["records"]]
            paths = [
                self.folder / shard_name(str(found["name"]), split, k, len(counts))
                for k in range(len(counts))
            ]
            faults = (self.folder / f"faults-{split}.jsonl").read_text(encoding="utf-8")
            self._faults = {int(one["index"]): one for one in map(json.loads, faults.splitlines())}
            self.faults = Counter(fault_reason(one) for one in self._faults.values())
        except FileNotFoundError as error:
            raise LabelError(
                self.folder, 0, f"no {Path(error.filename).name} in it", "a packed data set"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, LabelError):
                raise
            raise LabelError(path, 0, repr(error), "what packing wrote") from error
        if lost := [one for one in paths if not one.is_file()]:
            raise LabelError(lost[0], 0, lost[0].name, "all files of the packed data set")
        self._records = RecordFiles(paths, counts)
        self._bad = sorted(self._faults)
        if len(self._records) + len(self._bad) != self._stop - self.start:
            raise LabelError(
                path,
                0,
                f"{len(self._records)} records and {len(self._bad)} faults",
                f"{self._stop - self.start} in total (samples {self.start} up to {self._stop})",
            )

    def __len__(self) -> int:
        """Return the index after the last sample."""
        return self._stop

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        """Return the sample at an index.

        Raises:
            IndexError: the index was not packed.
            LabelError: the error raised when the sample was packed; or a damaged file or record.
            ImageError: the error raised when the sample was packed; or the image cannot be
                decoded.
        """
        data, words, path = self._packed(index)
        image = decode_image(data, name=path or self._records.name(self._number(index)))
        height, width = image.shape[:2]
        return Sample(image, Page(height, width, words, path or None))

    def name(self, index: int) -> str:
        """Return the path of the image at an index; empty for a generated image.

        For a damaged record, returns the file and the number of the record in it.
        """
        if fault := self._faults.get(index):
            return self._path(str(fault["path"]))
        number = self._number(index)
        name = self._records.name(number)
        try:
            paths = decode_example(self._records[number], name=name).get("path")
            if isinstance(paths, list) and len(paths) == 1:
                return self._path(_decoded(paths[0]))
        except ValueError:
            pass
        return name

    def _packed(self, index: int) -> tuple[bytes, tuple[Word, ...], str]:
        number = self._number(index)
        record = self._records[number]
        data, words, path = decode_packed(record, name=self._records.name(number))
        return data, words, self._path(path)

    def _number(self, index: int) -> int:
        if not self.start <= index < self._stop:
            raise IndexError(f"sample {index}: only {self.start} to {self._stop - 1} were packed")
        if fault := self._faults.get(index):
            raise _error(fault)
        return index - self.start - bisect_left(self._bad, index)

    def _path(self, path: str) -> str:
        return str(self.root / path) if path else ""


def describe_fault(index: int, path: str, error: ValueError) -> dict[str, Any]:
    """Return a sample's LabelError, ImageError or PageError as a JSON object."""
    fault: dict[str, Any] = {"index": index, "path": path, "kind": type(error).__name__}
    if isinstance(error, LabelError):
        where = [error.path, error.line, error.value, error.expected]
        return {**fault, "label": where, "reason": error.reason}
    return {**fault, "message": str(error)}


def fault_reason(fault: dict[str, Any]) -> str:
    """Return a few words, used to group and count faults."""
    return str(fault.get("reason", "picture" if fault["kind"] == "ImageError" else "labels"))


def _error(fault: dict[str, Any]) -> ValueError:
    if fault["kind"] == "LabelError":
        return LabelError(*fault["label"], reason=fault["reason"])
    kind = PageError if fault["kind"] == "PageError" else ImageError
    return kind(fault["message"])


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")
