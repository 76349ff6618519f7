"""Damaged label files of every format: looked at, repaired and written, or the typed error.

The quick suite tries a seeded share; `OCRJAX_FUZZ=10000 pytest tests/app/test_lint_fuzz.py` is the
long run.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter

import numpy as np
from damaged_labels import damaged_file, files, seeds

from ocrcore.images import ImageError, write_image
from ocrcore.outputs import OutputError
from ocrcore.pages import LabelError, PageError
from ocrjax.labels.convert import write_labels
from ocrjax.labels.lint import lint, open_parts
from ocrjax.labels.lint_report import table, to_json
from ocrjax.labels.repair import repaired, target_of
from ocrjax.labels.targets import TARGETS

SEEDS = seeds(150)
CROPS = ("csv", "tsv", "doctr-rec", "trdg", "synthtext")


def look(folder, out, target):
    """All that `ocrjax lint --fix` does; says how far it came."""
    found = lint(open_parts(folder)[0])
    json.dumps(to_json(found))
    assert table(found)
    pages = repaired(found)[0]["train"]
    if not any(page.words for page in pages):
        return "no words"
    try:
        write_labels(pages, out, target, pictures="none")
    except ValueError as error:
        assert "no word can be written as" in str(error)
        return "not written"
    try:
        target_of(found.parts[0])
    except ValueError as error:
        assert "name another format" in str(error)
    return "written"


def test_damaged_files_are_judged_and_repaired(tmp_path):
    sources = [one for one in files() if one[0] not in CROPS]
    outcomes: Counter[str] = Counter()
    folder, out = tmp_path / "in", tmp_path / "out"
    noise = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    write_image(folder / "photo.png", noise)
    for seed in SEEDS:
        kind, path = damaged_file(seed, sources, folder)
        target = list(TARGETS)[seed // len(sources) % len(TARGETS)]
        try:
            outcomes[look(folder, out, target)] += 1
        except (LabelError, ImageError, PageError, OutputError) as error:
            outcomes["refused"] += 1
            assert str(error), f"seed {seed}"
        except Exception as error:
            error.add_note(f"seed {seed}, {kind}, to {target}: {path.read_bytes()[:2000]!r}")
            raise
        path.unlink()
        shutil.rmtree(out, ignore_errors=True)
    print(dict(outcomes))
    assert min(outcomes["written"], outcomes["refused"]) > len(SEEDS) // 20
