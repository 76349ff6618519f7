"""Labels that we write, read by the tools themselves, and theirs by us; README.md sets them up."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from crnnjax.crop_index import open_crops
from ocrcore.data.readers.words import open_words
from ocrcore.pages import Page, Word
from ocrjax.labels.convert import read_pages, write_labels
from ocrjax.labels.crops import cut_crops, write_crops
from ocrjax.labels.json_files import LABEL_CONFIG

pytestmark = pytest.mark.slow
HEIGHT, WIDTH = 90, 150
BOX = np.array([(20, 10), (60, 10), (60, 30), (20, 30)], np.float32)
QUAD = np.array([(10, 40), (50, 44), (49, 60), (9, 56)], np.float32)
CURVE = np.array([(80, 20), (100, 10), (120, 20), (120, 40), (100, 30), (80, 40)], np.float32)


def python(name: str) -> str:
    """The interpreter of a variable; the test is skipped without."""
    path = os.environ.get(name)
    if not path:
        pytest.skip(f"{name} is not set: tests/in_tools/README.md")
    return str(Path(path).absolute())


def run(interpreter: str, code: str, *arguments: object):
    """Runs a script in another environment; what it prints last is JSON."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [interpreter, "-W", "ignore", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment | {"QT_QPA_PLATFORM": "offscreen", "USE_TORCH": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture
def pages(tmp_path) -> list[Page]:
    out = []
    for name in ("one", "two"):
        path = tmp_path / "source" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        image = np.random.default_rng(len(out)).integers(0, 255, (HEIGHT, WIDTH, 3))
        cv2.imwrite(str(path), image.astype(np.uint8))
        words = (
            Word(BOX, f"{name} & <1>"),
            Word(QUAD, "Straße"),
            Word(BOX, "curved", polygon=CURVE),
            Word(BOX + 30, None, care=False),
        )
        out.append(Page(HEIGHT, WIDTH, words, str(path)))
    return out


def same(page: Page, words: list, *, texts: bool = True) -> None:
    """Compares with `[points, text]` of another tool."""
    assert len(words) == len(page.words)
    for word, (points, text) in zip(page.words, words, strict=True):
        np.testing.assert_allclose(np.reshape(points, (-1, 2)), word.outline, atol=0.02)
        if texts:
            assert text == word.text


DATUMARO = """
import json, sys
from datumaro.components.dataset import Dataset
data = Dataset.import_from(sys.argv[1], sys.argv[2])
items = {}
for item in data:
    found = []
    for one in item.annotations:
        points = list(map(float, one.points))
        if one.type.name == "bbox":
            left, top, right, bottom = points
            points = [left, top, right, top, right, bottom, left, bottom]
        found.append([points, one.attributes.get("text"), bool(one.attributes.get("ignore"))])
    items[item.id.split("/")[-1]] = found
if len(sys.argv) > 3:
    data.export(sys.argv[4], sys.argv[3], save_media=True)
print(json.dumps(items))
"""


@pytest.mark.parametrize(("ours", "theirs"), [("cvat", "cvat"), ("datumaro", "datumaro")])
def test_datumaro_reads_and_writes(tmp_path, pages, ours, theirs):
    tool = python("TOOLS_PYTHON")
    write_labels(pages, tmp_path / "out", ours)
    found = run(tool, DATUMARO, tmp_path / "out", theirs, theirs, tmp_path / "back")
    for page in pages:
        words = found[Path(str(page.path)).stem]
        same(page, [word[:2] for word in words])
        assert [word[2] for word in words] == [not word.care for word in page.words]
    # What the tool writes of it.
    back, done = read_pages(tmp_path / "back")
    assert done.source.startswith("CVAT" if ours == "cvat" else "Datumaro") and not done.bad
    for page, again in zip(pages, back, strict=True):
        same(page, [[word.outline, word.text] for word in again.words])
        assert [word.care for word in again.words] == [word.care for word in page.words]


@pytest.mark.parametrize("theirs", ["cvat", "datumaro"])
def test_datumaro_writes_cvats_icdar_export(tmp_path, pages, theirs):
    tool = python("TOOLS_PYTHON")
    write_labels(pages, tmp_path / "out", theirs)
    run(tool, DATUMARO, tmp_path / "out", theirs, "icdar_text_localization", tmp_path / "back")
    subset = next(path for path in (tmp_path / "back").iterdir() if path.is_dir())
    folder = open_words(subset, images="images", labels=".")
    for index, page in enumerate(pages):
        words = folder.page(index).words
        same(page, [[word.outline, word.text] for word in words])


def test_datumaro_reads_the_icdar_export(tmp_path, pages):
    tool = python("TOOLS_PYTHON")
    quads = [page.with_words([w for w in page.words if w.polygon is None]) for page in pages]
    write_labels(quads, tmp_path / "out", "cvat-icdar")
    found = run(tool, DATUMARO, tmp_path / "out", "icdar_text_localization")
    for page in quads:
        words = [word[:2] for word in found[Path(str(page.path)).stem]]
        assert words.pop()[1] == "###"
        same(page.with_words(page.words[:-1]), words)


LABEL_STUDIO = """
import json, sys
from label_studio_sdk.converter import Converter
converter = Converter(sys.argv[2], sys.argv[3], download_resources=False)
converter.convert_to_json_min(sys.argv[1], sys.argv[3], is_dir=False)
from label_studio_sdk.label_interface import LabelInterface
setup = LabelInterface(sys.argv[2])
tasks = json.load(open(sys.argv[1]))
valid = all(setup.validate_annotation(one) for task in tasks for one in task["annotations"])
print(json.dumps({"valid": bool(valid), "tasks": len(tasks)}))
"""


def test_label_studio_converts_and_checks(tmp_path, pages):
    tool = python("TOOLS_PYTHON")
    write_labels(pages, tmp_path / "out", "label-studio")
    found = run(tool, LABEL_STUDIO, tmp_path / "out/tasks.json", LABEL_CONFIG, tmp_path / "min")
    assert found == {"valid": True, "tasks": 2}
    # JSON_MIN leaves the place of a word without a text open; the first three have one.
    tasks = json.loads((tmp_path / "min/result.json").read_text())
    assert set(tasks[0]) >= {"ocr", "bbox", "poly", "label", "transcription", "annotation_id"}
    for task in tasks:
        task["transcription"].append("")
    (tmp_path / "min/result.json").write_text(json.dumps(tasks))
    back, done = read_pages(tmp_path / "min", images=str(tmp_path / "out/images"))
    assert done.source.startswith("Label Studio export (JSON-MIN), 2 tasks, 8 words")
    for page, again in zip(pages, back, strict=True):
        same(page, [[word.outline, word.text] for word in again.words])


OBB = """
import json, sys
from label_studio_sdk.converter.utils import convert_annotation_to_yolo_obb
print(json.dumps(convert_annotation_to_yolo_obb(json.loads(sys.argv[1]), normalize=False)))
"""


def test_label_studio_turns_rectangles_as_we_do(tmp_path, pages):
    tool = python("TOOLS_PYTHON")
    value = {"x": 30, "y": 20, "width": 25, "height": 12, "rotation": 37.5}
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    expected = run(tool, OBB, json.dumps(value | size))
    result = {"id": "a", "type": "rectangle", "value": value, **size}
    task = {"data": {"ocr": str(pages[0].path)}, "annotations": [{"result": [result]}]}
    path = tmp_path / "source/tasks.json"
    path.write_text(json.dumps([task]))
    (page,), _ = read_pages(path)
    np.testing.assert_allclose(page.words[0].quad, expected, atol=1e-3)


LABELME = """
import json, sys
from labelme._label_file import read_label_file, write_label_file
found = read_label_file(sys.argv[1])
names = ("label", "points", "description", "flags", "shape_type", "group_id")
shapes = [{name: shape[name] for name in names} for shape in found.shapes]
data = found.image_data if len(sys.argv) > 2 else None
write_label_file(
    sys.argv[1],
    shapes=shapes,
    image_path=found.image_path,
    image_height=None,
    image_width=None,
    image_data=data,
)
print(json.dumps([[one[name] for name in names[1:5]] for one in shapes]))
"""


@pytest.mark.parametrize("more", [(), ("data",)])
def test_labelme_reads_and_writes(tmp_path, pages, more):
    tool = python("LABELME_PYTHON")
    out = tmp_path / "out"
    write_labels(pages, out, "labelme")
    for page in pages:
        found = run(tool, LABELME, out / f"{Path(str(page.path)).stem}.json", *more)
        assert [one[1] for one in found] == [word.text or "" for word in page.words]
        assert [bool(one[2]) for one in found] == [not word.care for word in page.words]
        assert [one[3] for one in found] == ["rectangle", "polygon", "polygon", "rectangle"]
        np.testing.assert_array_equal(found[2][0], CURVE)
    back, done = read_pages(out)
    assert not done.bad
    for page, again in zip(pages, back, strict=True):
        same(page, [[word.outline, word.text] for word in again.words])


DOCTR = """
import json, sys
from doctr.datasets import DetectionDataset, RecognitionDataset
folder, kind = sys.argv[1:]
if kind == "detection":
    data = DetectionDataset(folder + "/images", folder + "/labels.json", use_polygons=True)
    out = {name: target[0].tolist() for name, target in data.data}
else:
    data = RecognitionDataset(folder + "/images", folder + "/labels.json")
    out = dict(data.data)
print(json.dumps([out, list(data[0].image.shape)]))
"""


def test_doctr_reads(tmp_path, pages):
    tool = python("DOCTR_PYTHON")
    write_labels(pages, tmp_path / "out", "doctr")
    found, shape = run(tool, DOCTR, tmp_path / "out", "detection")
    assert shape == [3, HEIGHT, WIDTH]
    back, _ = read_pages(tmp_path / "out")
    for page in back:
        same(page, [[points, None] for points in found[Path(str(page.path)).name]], texts=False)
    crops = list(cut_crops(pages, Counter(), []))
    write_crops(crops, tmp_path / "rec", "doctr-rec", [])
    found, _ = run(tool, DOCTR, tmp_path / "rec", "recognition")
    ours = open_crops("doctr", tmp_path / "rec")
    assert found == {Path(crop.name).name: crop.text for crop in ours}
    assert list(found.values()) == [crop.text for crop in crops]


LMDB = """
import io, json, sys
import lmdb
from PIL import Image
# As deep-text-recognition-benchmark's dataset.py reads it.
options = dict(max_readers=32, readonly=True, lock=False, readahead=False, meminit=False)
env = lmdb.open(sys.argv[1], **options)
with env.begin(write=False) as txn:
    count = int(txn.get("num-samples".encode()))
    out = []
    for index in range(1, count + 1):
        label = txn.get(("label-%09d" % index).encode()).decode("utf-8")
        image = Image.open(io.BytesIO(txn.get(("image-%09d" % index).encode()))).convert("L")
        out.append([label, list(image.size)])
# As its create_lmdb_dataset.py writes it.
with lmdb.open(sys.argv[2], map_size=1 << 24) as env, env.begin(write=True) as txn:
    data = io.BytesIO()
    Image.new("RGB", (30, 20)).save(data, "PNG")
    for key, value in {"image-000000001": data.getvalue(), "label-000000001": b"word"}.items():
        txn.put(key.encode(), value)
    txn.put(b"num-samples", b"1")
print(json.dumps(out))
"""


def test_lmdb(tmp_path, pages):
    tool = python("TOOLS_PYTHON")
    crops = list(cut_crops(pages, Counter(), []))
    write_crops(crops, tmp_path / "out", "lmdb", [])
    found = run(tool, LMDB, tmp_path / "out", tmp_path / "theirs")
    sizes = [list(crop.image().shape[1::-1]) for crop in crops]
    expected = [[crop.text, size] for crop, size in zip(crops, sizes, strict=True)]
    assert found == expected
    (crop,) = open_crops("auto", tmp_path / "theirs")
    assert crop.text == "word" and crop.image().shape == (20, 30, 3)
