"""Label files of every format, and the same damaged in seeded ways."""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import random
import string

import numpy as np
from label_samples import SAMPLES
from scipy.io import savemat

_ODD = [
    *(None, True, False, 0, -1, 1e308, -1e308, 10**400, "", "###", "nan", "1e999", [], {}, [[]]),
    *(float("nan"), float("inf"), "\ud800", "\0", "a" * 300, [None], {"a": 1}, [1, 2], "5", "..."),
]
_BYTES = [b"\0", b"\xff", b'"', b"{", b"[", b"]", b"}", b"<", b">", b"&", b",", b"\n", b"\t", b"-"]
_BYTES += [b"9" * 400, b"NaN", b"null", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"<!ENTITY a 'b'>", b"e9"]


def _mat(**variables) -> bytes:
    file = io.BytesIO()
    savemat(file, variables, do_compression=False)
    return file.getvalue()


def _total_text() -> bytes:
    rows = np.empty((2, 6), object)
    x, y = np.array([[20, 60, 60, 20]], np.int16), np.array([[10, 10, 30, 30]], np.int16)
    rows[0], rows[1] = ("x:", x, "y:", y, "one", "c"), ("x:", x, "y:", y, "#", "#")
    return _mat(polygt=rows)


def _synthtext() -> bytes:
    cells = {name: np.empty((1, 1), object) for name in ("imnames", "wordBB", "charBB", "txt")}
    quad = np.array([[20, 60, 60, 20], [10, 10, 30, 30]], np.float32)[:, :, None]
    for name, value in (("imnames", "photo.png"), ("txt", "a"), ("wordBB", quad), ("charBB", quad)):
        cells[name][0, 0] = np.array([value]) if isinstance(value, str) else value
    return _mat(**cells)


_QUAD = "10,40,50,44,49,60,9,56"
_LINES = {
    "quad": f"{_QUAD},one\n{_QUAD},###\n",
    "box": '20 10 60 30 "one"\n1 2 3 4 "two"\n',
    "mlt": f"{_QUAD},Latin,one\n{_QUAD},Arabic,two\n",
    "rctw": f'{_QUAD},0,"one"\n{_QUAD},1,"two"\n',
    "td500": f"{_QUAD},0\n" * 12,
    "msra-td500": "0 0 28 26 116 39 0.01\n1 1 218 96 80 30 -0.2\n",
    "ctw1500": ",".join(map(str, [100, 50, 160, 70, *([0, 0, 10, 0, 60, 20, 5, 20] * 4)[:28]])),
    "polygon": "100,20,130,10,160,20,160,40,130,30,100,40,####one\n",
    "total-text": "x: [[100 130 160]], y: [[20 10\n 40]], ornt: [u'c'], transcriptions: [u'o']\n",
    "quoted": f'{_QUAD},"one"\n20 10 60 30 "two"\n',
}


def files():
    """Name of a format, name of a file, its bytes."""
    for sample in SAMPLES:
        name, content = next(iter(sample.files.items()))
        data = content if isinstance(content, bytes) else content.encode()
        yield sample.kind, name.replace("/", "_"), data
    yield "total-text-mat", "poly_gt_photo.mat", _total_text()
    yield "synthtext", "gt.mat", _synthtext()
    for name, text in _LINES.items():
        yield f"lines:{name}", "photo.txt", text.encode()
    yield "csv", "labels.csv", b"filename,words\nphoto.png,one\na.png,two, three\n"
    yield "tsv", "rec_gt.txt", b"crop_img/a.png\tone\nphoto.png\ttwo\n"
    yield "doctr-rec", "labels.json", b'{"photo.png": "one", "a.png": "two"}'
    yield "trdg", "labels.txt", b"photo.png one\n1.jpg two three\n"


def damaged_json(rng: random.Random, value):
    """The same value with one to three parts of it replaced, doubled or left out."""
    for _ in range(rng.randint(1, 3)):
        places = []

        def walk(node, places=places):
            items = node.items() if isinstance(node, dict) else enumerate(node)
            for key, inside in items:
                places.append((node, key))
                if isinstance(inside, dict | list):
                    walk(inside)

        if not isinstance(value, dict | list):
            return copy.deepcopy(rng.choice(_ODD))
        walk(value)
        if not places:
            return value
        node, key = rng.choice(places)
        change = rng.random()
        if change < 0.6:
            node[key] = copy.deepcopy(rng.choice(_ODD))
        elif change < 0.8:
            other, place = rng.choice(places)
            # A copy: no list may be inside of itself.
            node[key] = copy.deepcopy(other[place])
        elif isinstance(node, dict):
            del node[key]
        else:
            node.insert(key, copy.deepcopy(rng.choice(_ODD)))
    return value


def damaged(rng: random.Random, data: bytes) -> bytes:
    packed = data[:2] == b"\x1f\x8b"
    if packed and rng.random() < 0.7:
        return gzip.compress(damaged(rng, gzip.decompress(data)), 1)
    if data[:1] in (b"[", b"{") and rng.random() < 0.6:
        value = damaged_json(rng, json.loads(data))
        return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.randint(1, 12))
        change = rng.randrange(6)
        if change == 0:
            out[at:end] = b""
        elif change == 1:
            out[at:at] = rng.choice(_BYTES)
        elif change == 2:
            out[at:end] = bytes(rng.choices(string.printable.encode(), k=end - at))
        elif change == 3 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif change == 4:
            out[at:at] = out[at : at + rng.randint(1, 200)]
        elif rng.random() < 0.2:
            del out[at:]
    return bytes(out)


def seeds(count):
    """Which seeds a test tries: some; with the environment's OCRJAX_FUZZ that many.

    OCRJAX_FUZZ_FIRST is the first of them.
    """
    first = int(os.environ.get("OCRJAX_FUZZ_FIRST", "0"))
    return range(first, first + int(os.environ.get("OCRJAX_FUZZ", str(count))))


def damaged_file(seed, sources, folder):
    """Writes one of the files, damaged; returns its format and its path."""
    kind, name, data = sources[seed % len(sources)]
    path = folder / name
    path.write_bytes(damaged(random.Random(seed), data))
    return kind, path
