"""300 folders of labels as people have them: the right words, or an error; never other words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mutated_labels import READ, UNREAD, make_folder

from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.data.readers.icdar import read_icdar_folder
from ocrcore.data.readers.skipped_files import unused_files
from ocrcore.pages import LabelError

COUNT = 300


def differences(made, pages):
    """What is not as it was written."""
    found = {Path(page.path).name: page for page in pages}
    if set(found) != set(made.pages):
        yield f"pictures {sorted(found)}"
        return
    for name, (size, words) in made.pages.items():
        page = found[name]
        if (page.height, page.width) != size:
            yield f"{name}: {(page.height, page.width)}"
        if len(page.words) != len(words):
            yield f"{name}: {len(page.words)} words, not {len(words)}"
            continue
        for word, true in zip(page.words, words, strict=True):
            outline = word.outline
            same = outline.shape == np.shape(true.outline) and np.allclose(
                outline, true.outline, atol=0.01
            )
            if not same or (word.text, word.care) != (true.text, true.care):
                yield f"{name}: {word.text!r} {word.care} {outline.tolist()}, not {true}"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Of each folder: what was made, and "right" or the error, of either reader."""
    root = tmp_path_factory.mktemp("mutated")
    out = []
    for seed in range(COUNT):
        made = make_folder(root / str(seed), seed)
        results = []
        for read in (read_icdar_folder, PhotoFolder):
            try:
                if read is PhotoFolder:
                    folder = PhotoFolder(made.images, made.labels, None)
                    pages = [folder.page(index) for index in range(len(folder))]
                    notes = " ".join(unused_files(folder))
                    wrong = [str(p) for p in made.hidden if p.name not in notes]
                else:
                    pages = read_icdar_folder(made.images, made.labels)
                    wrong = []
            except LabelError as error:
                results.append(str(error))
                continue
            wrong += differences(made, pages)
            results.append(wrong or "right")
        out.append((seed, made, results))
    return out


def test_never_other_words(outcomes):
    wrong = [
        f"{seed} {made.form}, {made.changes}: {result[0]}"
        for seed, made, results in outcomes
        for result in results
        if isinstance(result, list)
    ]
    assert not wrong, "\n".join(wrong)


def test_most_are_read(outcomes):
    read = Counter(made.form for _, made, results in outcomes if results == ["right", "right"])
    plain = Counter(made.form for _, made, _ in outcomes if made.plain)
    refused = {
        f"{seed} {made.form}, {made.changes}: {results}"
        for seed, made, results in outcomes
        if made.plain and results != ["right", "right"]
    }
    assert set(plain) == set(READ)  # each is tried without an excuse
    assert {made.form for _, made, _ in outcomes} >= set(UNREAD)
    assert len(refused) <= 0.05 * sum(plain.values()), "\n".join(sorted(refused))
    assert sum(read.values()) >= 0.6 * COUNT


def test_both_readers_say_the_same(outcomes):
    """But of label files without a picture, which one of them refuses and one names."""
    differ = [
        (seed, made.changes, results)
        for seed, made, results in outcomes
        if "lonely label" not in made.changes
        and [result == "right" for result in results] not in ([True] * 2, [False] * 2)
    ]
    assert not differ
