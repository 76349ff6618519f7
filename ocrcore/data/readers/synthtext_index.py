"""SynthText with a cached index: opening it takes no time or memory, however large `gt.mat` is.

The first start reads all of `gt.mat` once and writes what training needs, uncompressed, to a cache
folder; later starts only memory-map it. The folder name depends on the path, size and modification
time of `gt.mat`, so that a changed file is indexed again. It holds

* `text.bin`: for each image its path and its texts, UTF-8, joined by NUL;
* `characters.bin`, `words.bin`: all quads, `(4, 2)` float32 each;
* `ends.npy`: where each image's part of the three files ends, `(N, 3)` int64;
* `faults.json`: errors of invalid labels, by number of the image;
* `index.json`: its version.

Coordinates are stored unchanged, so that pages equal those of
`ocrcore.data.readers.synthtext.SynthText`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ocrcore.data.readers.mat import read_cells
from ocrcore.data.readers.synthtext import FIELDS, picture_path, synthtext_words
from ocrcore.files import default_cache, new_folder
from ocrcore.images import image_size, read_bytes, read_image
from ocrcore.pages import FloatArray, LabelError, Page, Sample
from ocrcore.progress import Progress, shown

_VERSION = 1
_QUAD = 4 * 2 * 4  # bytes


class IndexedSynthText(Sequence[Sample]):
    """The images of a SynthText folder with their pages, by index.

    It can be pickled, and read from threads.

    Args:
        folder: the folder with `gt.mat` and the images.
        cache: where the index is stored; default `default_cache()`.

    Raises:
        LabelError: there is no `gt.mat`, or it cannot be read.
        OSError: the index cannot be written.
    """

    def __init__(self, folder: str | Path, *, cache: str | Path | None = None) -> None:
        self.folder = Path(folder)
        self.cache = Path(cache) if cache is not None else default_cache()
        path = self.folder / "gt.mat"
        try:
            state = path.stat()
        except OSError:
            raise LabelError(self.folder, 0, "no gt.mat in it", "a SynthText folder") from None
        key = f"{_VERSION} {path.resolve()} {state.st_size} {state.st_mtime_ns}"
        self.location = (
            self.cache
            / f"synthtext-{hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()[:16]}"
        )
        if not (self.location / "index.json").is_file():
            write_index(path, self.location)
        self._ends = np.load(self.location / "ends.npy", mmap_mode="r")
        self._faults: dict[str, list[str]] = json.loads((self.location / "faults.json").read_text())
        self._text, characters, words = (
            _mapped(self.location / name) for name in ("text.bin", "characters.bin", "words.bin")
        )
        last = self._ends[-1].tolist() if len(self._ends) else [0, 0, 0]
        if last != [len(self._text), len(characters) // _QUAD, len(words) // _QUAD]:
            raise LabelError(
                self.location, 0, f"ends at {last}", "a complete index; delete it to recreate it"
            )
        self._characters = characters.view(np.float32).reshape(-1, 4, 2)
        self._words = words.view(np.float32).reshape(-1, 4, 2)

    def __len__(self) -> int:
        return len(self._ends)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.folder, self.cache)

    def name(self, index: int) -> str:
        """Return the path of the image at an index, as written in `gt.mat`."""
        return str(self.folder / self._texts(index)[0])

    def page(self, index: int, *, height: int, width: int) -> Page:
        """Return the page at an index, for an image of this size.

        Raises:
            IndexError: the index is not in `[0, len)`.
            LabelError: invalid labels.
        """
        name, *texts = self._texts(index)
        path = picture_path(self.folder, name)
        if fault := self._faults.get(str(index)):
            raise LabelError(path, 0, *fault)
        _, (first, second), (last, after) = self._range(index)
        characters = self._characters[first:last].transpose(2, 1, 0)
        words = synthtext_words(
            str(path), texts, characters, self._words[second:after].transpose(2, 1, 0)
        )
        return Page(height=height, width=width, words=words, path=str(path))

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        """Return the image and page at an index.

        Raises:
            IndexError: the index is not in `[0, len)`.
            LabelError: invalid labels.
            ImageError: the image is missing or broken.
        """
        image = read_image(picture_path(self.folder, self._texts(index)[0]))
        return Sample(image, self.page(index, height=image.shape[0], width=image.shape[1]))

    def label_files(self, index: int) -> tuple[Path, ...]:
        """Return `gt.mat`, which holds the labels of all images."""
        return (self.folder / "gt.mat",)

    def encoded(self, index: int) -> tuple[bytes, Page]:
        """Return the encoded image file at an index, and its page.

        Raises:
            IndexError: the index is not in `[0, len)`.
            LabelError: invalid labels.
            ImageError: the file is missing or is not an image.
        """
        path = picture_path(self.folder, self._texts(index)[0])
        height, width = image_size(path)
        return read_bytes(path), self.page(index, height=height, width=width)

    def _range(self, index: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Return start and end of the text, starts of the quads, and their ends."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        text, characters, words = self._ends[index].tolist()
        before = self._ends[index - 1].tolist() if index else [0, 0, 0]
        return (before[0], text), (before[1], before[2]), (characters, words)

    def _texts(self, index: int) -> list[str]:
        (start, end), _, _ = self._range(index)
        return self._text[start:end].tobytes().decode("utf-8").split("\0")


def write_index(path: Path, index: Path) -> None:
    """Indexes a `gt.mat`, atomically; two processes may do so at the same time.

    Takes as much memory as the largest variables of a compressed `gt.mat`, and very little for an
    uncompressed one.

    Raises:
        LabelError: the file is not such a `gt.mat`.
        OSError: the index cannot be written.
    """
    with Progress(f"reading {path}"):
        found = read_cells(path, FIELDS)
    if missing := [name for name in FIELDS if name not in found]:
        raise LabelError(path, 0, f"no {', '.join(missing)} in it", ", ".join(FIELDS))
    names, texts, characters, words = (found[name] for name in FIELDS)
    if len({len(cells) for cells in found.values()}) != 1:
        sizes = ", ".join(f"{name}: {len(found[name])}" for name in FIELDS)
        raise LabelError(path, 0, sizes, "equal numbers of images")
    with new_folder(index, marker="index.json") as part:
        ends = np.zeros((len(names), 3), np.int64)
        faults: dict[int, list[str]] = {}
        end = [0, 0, 0]
        with (
            (part / "text.bin").open("wb") as text_file,
            (part / "characters.bin").open("wb") as character_file,
            (part / "words.bin").open("wb") as word_file,
        ):
            task = f"indexing {path} (once) to {index}"
            for number in shown(range(len(names)), task, unit="image"):
                text, one, two = b"", b"", b""
                try:
                    text = _name(names[number])
                    own = texts[number]
                    if not isinstance(own, list):  # an empty numeric array means no text
                        own = []
                    one, two = _quads(characters[number]), _quads(words[number])
                    text += b"".join(b"\0" + _encoded(line) for line in own)
                except LabelError as error:
                    faults[number] = [error.value, error.expected]
                except ValueError as error:
                    faults[number] = [str(error), "labels like those of SynthText"]
                text_file.write(text)
                character_file.write(one)
                word_file.write(two)
                end = [end[0] + len(text), end[1] + len(one) // _QUAD, end[2] + len(two) // _QUAD]
                ends[number] = end
        np.save(part / "ends.npy", ends)
        (part / "faults.json").write_text(json.dumps(faults))
        (part / "index.json").write_text(json.dumps({"version": _VERSION, "source": str(path)}))


def _reopen(folder: Path, cache: Path) -> IndexedSynthText:
    return IndexedSynthText(folder, cache=cache)


def _mapped(path: Path) -> NDArray[np.uint8]:
    # An empty file cannot be memory-mapped.
    return np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)


def _name(value: Any) -> bytes:
    if not isinstance(value, list) or len(value) != 1:
        raise ValueError(f"{value!r} instead of the path of an image")
    return _encoded(value[0])


def _encoded(text: str) -> bytes:
    if "\0" in text:
        raise ValueError(f"a text with a NUL byte: {text!r}")
    return text.encode("utf-8", "replace")


def _quads(value: Any) -> bytes:
    """Return boxes `(2, 4, N)` as the bytes of `(N, 4, 2)` float32."""
    if isinstance(value, list):
        raise ValueError("a text instead of boxes")
    boxes = np.asarray(value)
    if not boxes.size:
        return b""
    if boxes.ndim == 2:
        boxes = boxes[:, :, None]
    if boxes.ndim != 3 or boxes.shape[:2] != (2, 4):
        raise ValueError(f"boxes of shape {boxes.shape} instead of (2, 4, N)")
    with np.errstate(over="ignore"):  # becomes infinite, which is rejected on reading
        quads: FloatArray = boxes.transpose(2, 1, 0).astype(np.float32)
    return quads.tobytes()
