"""The page of examples/web: its JavaScript finds and reads the same as read_onnx.py."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_onnx import CHARSET, crops, maps, network, noisy, photos

from craftjax.models import CRAFT
from craftjax.models import init_variables as craft_variables
from craftjax.options import DetectorOptions
from crnnjax.options import RecognizerOptions
from ocrcore.pages import Page, Word
from ocrcore.reading_order import arrange
from ocrjax.onnx import read_onnx
from ocrjax.onnx.models import detector_model, rapidocr_model, recognizer_model

WEB = Path(__file__).parents[2] / "examples" / "web"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node.js")
with_runtime = pytest.mark.skipif(
    not (WEB / "node_modules" / "onnxruntime-web").is_dir(),
    reason="needs onnxruntime-web: npm install in examples/web",
)
CV2 = read_onnx.cv2


def run(cases):
    """What the page's code gives for each case."""
    done = subprocess.run(
        [NODE, str(WEB / "test" / "cases.js")],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def encoded(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def sent(image):
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else 3
    return {"width": width, "height": height, "channels": channels, "data": encoded(image)}


def received(image):
    data = np.frombuffer(base64.b64decode(image["data"]), np.uint8)
    shape = (image["height"], image["width"], image["channels"])
    return data.reshape(shape[:2] if shape[2] == 1 else shape)


def pictures():
    """Noise, of sides that are halved, stretched, and a few pixels long."""
    rng = np.random.default_rng(0)
    for height, width in ((40, 60), (33, 90), (2, 3), (71, 20)):
        yield rng.integers(0, 256, (height, width, 3), np.uint8)


def quads(image):
    """Slanting ones, and one that leaves the picture."""
    height, width = image.shape[:2]
    shares = [(0.1, 0.3, 0.7, 0.2, 0.8, 0.6, 0.2, 0.8), (-0.2, 0.1, 1.1, 0, 1.2, 0.9, 0, 1.3)]
    return [
        np.array(share, np.float32).reshape(4, 2) * np.float32([width, height]) for share in shares
    ]


def test_pictures_are_scaled_and_cut_as_in_python():
    cases, expected = [], []
    for image in pictures():
        gray = read_onnx._gray(image)
        for size in ((30, 20), (45, 70), (120, 33)):
            cases.append({"action": "linear", "image": sent(image), "size": size})
            expected.append(CV2.resize(image, size, interpolation=CV2.INTER_LINEAR))
            cases.append({"action": "bicubic", "image": sent(gray), "size": size})
            expected.append(read_onnx._bicubic(gray, *size))
        cases.append({"action": "gray", "image": sent(image)})
        expected.append(gray)
        cases.append({"action": "turn", "image": sent(gray)})
        expected.append(np.rot90(gray))
        for quad in quads(image):
            cases.append({"action": "cut", "image": sent(image), "quad": quad.tolist()})
            expected.append(read_onnx.cut(image, quad))
    pixels = 0
    for case, found, wanted in zip(cases, run(cases), expected, strict=True):
        ours = received(found)
        assert ours.shape == wanted.shape
        apart = np.abs(ours.astype(int) - wanted)
        # How float32 is rounded depends on the processor, and OpenCV 4 cuts a little otherwise.
        loose = case["action"] == "cut" and not CV2.__version__.startswith("5")
        assert apart.max() <= (8 if loose else 1), case["action"]
        if not loose:
            assert (apart > 0).mean() <= 1e-3, case["action"]
        pixels += apart.size
    assert pixels > 100_000


def test_maps_give_the_same_boxes():
    cases, expected = [], []
    for seed in range(40):
        region, affinity = maps(seed)
        for text, link, low in ((0.7, 0.6, 0.6), (0.65, 0.75, 0.45)):
            named = {"text_threshold": text, "link_threshold": link, "low_text": low}
            size = {"width": region.shape[1], "height": region.shape[0], "thresholds": named}
            one = {"region": encoded(region), "affinity": encoded(affinity)}
            cases.append({"action": "boxes", **one, **size})
            expected.append(read_onnx.find_boxes(region, affinity, text, link, low))
    for found, wanted in zip(run(cases), expected, strict=True):
        assert len(found) == len(wanted)
        for one, (quad, score) in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one["quad"], quad, atol=1e-3)
            assert one["score"] == score
    assert sum(map(len, expected)) > 500


def words(seed):
    """Words in a few columns and lines, jittered, on a page that may lie at a slant."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-3.1, 3.1) * (seed % 3 > 0)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for _ in range(40):
        x, y = rng.integers(0, 8) * 90 + rng.normal(0, 4), rng.integers(0, 12) * 30
        wide, high = rng.uniform(20, 90), rng.choice([14, 20, 28])
        box = np.array([[x, y], [x + wide, y], [x + wide, y + high], [x, y + high]])
        if rng.random() < 0.1:  # another direction
            box = np.roll(box, rng.integers(1, 4), axis=0)
        yield (box @ turn + 1000).astype(np.float32)


def test_words_are_put_in_the_same_order():
    pages = [list(words(seed)) for seed in range(12)]
    cases = [{"action": "order", "quads": [quad.tolist() for quad in page]} for page in pages]
    *answers, empty = run([*cases, {"action": "order", "quads": []}])
    assert empty == []
    for page, found in zip(pages, answers, strict=True):
        named = tuple(Word(quad=quad, text=str(index)) for index, quad in enumerate(page))
        wanted = arrange(Page(3000, 3000, named)).words
        assert [(str(one["index"]), one["line"], one["paragraph"]) for one in found] == [
            (word.text, word.line, word.paragraph) for word in wanted
        ]


@pytest.fixture(scope="module")
def vgg():
    return network()[1]


def test_foreign_files_are_refused_in_words(tmp_path, vgg):
    made = {"charset": CHARSET, "height": 32}
    files = {
        "own": recognizer_model(vgg, **made).SerializeToString(),
        "rapidocr": rapidocr_model(vgg, **made).SerializeToString(),
        "text": b"not a model at all",
        "cut": recognizer_model(vgg, **made).SerializeToString()[:-20],
        "empty": b"",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    cases = [{"action": "facts", "path": str(tmp_path / name)} for name in files]
    found = dict(zip(files, run(cases), strict=True))
    assert found["own"]["characters"] == "+-*\\]^'\"#0a~ "
    assert "not its _rapidocr one" in found["rapidocr"]
    for name in ("text", "cut"):
        assert f"{name} is not an ONNX file, or a damaged one." in found[name]
    assert 'no metadata named "ocrjax"' in found["empty"]


@with_runtime
def test_the_networks_give_the_same_in_webassembly(tmp_path, vgg):
    cases, expected = [], []
    for resize in ("bucket", "easyocr", "fixed"):
        options = RecognizerOptions(
            resize=resize, turn_above=0 if resize == "easyocr" else 1.5, contrast_threshold=0.9
        )
        path = tmp_path / f"{resize}.onnx"
        model = recognizer_model(vgg, charset=CHARSET, height=32, options=options)
        path.write_bytes(model.SerializeToString())
        cases.append({"action": "read", "path": str(path), "crops": [sent(one) for one in crops()]})
        expected.append(read_onnx.Recognizer(path).read(crops()))
    variables = noisy(craft_variables(CRAFT(width=0.125)), seed=2)
    last = variables["params"]["conv_cls"]["conv8"]
    last["kernel"] = last["kernel"] * 10  # scores about the thresholds, so that there are words
    thresholds = {"text_threshold": 0.1, "low_text": 0.05, "link_threshold": 0.1}
    for border in ("crop", "keep"):
        path = tmp_path / f"{border}.onnx"
        options = DetectorOptions(**thresholds, canvas_size=128, border=border)
        path.write_bytes(detector_model(variables, options).SerializeToString())
        for _, photo in photos():
            cases.append({"action": "detect", "path": str(path), "photo": sent(photo)})
            expected.append(read_onnx.Detector(path).detect(photo))
    found = run(cases)
    for readings, wanted in zip(found[:3], expected[:3], strict=True):
        assert [one["text"] for one in readings] == [text for text, _ in wanted]
        sure = [one["confidence"] for one in readings]
        np.testing.assert_allclose(sure, [one for _, one in wanted], atol=1e-3)
    assert len({text for text, _ in expected[0]}) > 5
    for boxes, wanted in zip(found[3:], expected[3:], strict=True):
        assert len(boxes) == len(wanted)
        for one, (quad, score) in zip(boxes, wanted, strict=True):
            np.testing.assert_allclose(one["quad"], quad, atol=0.1)
            assert one["score"] == pytest.approx(score, abs=1e-4)
    assert sum(map(len, expected[3:])) >= 3
