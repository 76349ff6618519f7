"""Damaged label files of every format: words, or the typed error; never another exception.

The quick suite tries a seeded share; `OCRJAX_FUZZ=100000 pytest tests/core/test_label_fuzz.py` is
the long run, and OCRJAX_FUZZ_FIRST=100000 tries others.
"""

from __future__ import annotations

from collections import Counter

import pytest
from damaged_labels import damaged_file, files, seeds
from PIL import Image

from ocrcore.data.readers.crops import read_labels_csv, read_labels_tsv
from ocrcore.data.readers.doctr import read_doctr_crops
from ocrcore.data.readers.icdar import read_icdar
from ocrcore.data.readers.label_documents import documents_of, open_documents
from ocrcore.data.readers.label_formats import FORMATS, FoundFormat
from ocrcore.data.readers.synthtext import SynthText
from ocrcore.data.readers.trdg import read_trdg
from ocrcore.images import ImageError
from ocrcore.pages import LabelError

SEEDS = seeds(1500)


def read(kind, path, folder):
    """Reads a file in all ways in which it may come to be read."""
    if kind.startswith("lines:"):
        read_icdar(path)
        read_icdar(path, layout=kind.removeprefix("lines:"), bad=[])
    elif kind == "synthtext":
        pages = SynthText(folder)
        for index in range(min(len(pages), 3)):
            pages[index]
    elif kind in ("csv", "tsv", "doctr-rec", "trdg"):
        readers = {"csv": read_labels_csv, "trdg": read_trdg}
        if kind in readers:
            readers[kind](folder)
        else:
            (read_labels_tsv if kind == "tsv" else read_doctr_crops)(path)
    else:
        found = FoundFormat(kind, [path], None)
        for guessed in (False, True):
            documents = open_documents(path) if guessed else documents_of(path, found)
            str(documents.layout)
            documents.notes()
            for picture in documents.pictures:
                bad: list[LabelError] = []
                documents.words(picture, (100, 200), dont_care=("###",), bad=bad)
                assert all(str(error) for error in bad)


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (200, 100)).save(tmp_path / "photo.png")
    return tmp_path


def test_damaged_files(folder):
    sources = list(files())
    assert {kind for kind, _, _ in sources} >= set(FORMATS)
    outcomes: Counter[str] = Counter()
    for seed in SEEDS:
        kind, path = damaged_file(seed, sources, folder)
        try:
            read(kind, path, folder)
            outcomes["read"] += 1
        except (LabelError, ImageError) as error:
            outcomes["refused"] += 1
            assert str(error), f"seed {seed}"
        except Exception as error:
            error.add_note(f"seed {seed}, {kind}: {path.read_bytes()[:2000]!r}")
            raise
        path.unlink()
    print(dict(outcomes))
    assert min(outcomes["read"], outcomes["refused"]) > len(SEEDS) // 20
