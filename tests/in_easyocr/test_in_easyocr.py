"""Exports loaded and used by a real EasyOCR; tests/in_easyocr/README.md says how to set one up."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from craftjax.detector import Detector
from craftjax.options import DetectorOptions
from crnnjax.charset import Charset, named
from crnnjax.convert import from_state_dict
from crnnjax.models import CRNN, init_variables
from crnnjax.recognizer import Recognizer
from ocrcore.data.readers.crops import read_labels_tsv
from ocrcore.weights.named import find_weights
from ocrcore.weights.pth import load_weights
from ocrjax.easyocr.export_detector import check_detector, write_detector
from ocrjax.easyocr.export_recognizer import check_recognizer, write_recognizer
from ocrjax.easyocr.runner import EasyOcrError

pytestmark = pytest.mark.slow
# All that YAML, Python or a regular expression could take for something else.
CHARSET = Charset("own", tuple(" +-*\\]^'\"#:@&!%{}[>|~`\u00a0\u3000€😀0123456789abcdefghijklmno"))


@pytest.fixture(scope="module", autouse=True)
def python() -> str:
    """An interpreter that has EasyOCR."""
    if path := os.environ.get("EASYOCR_PYTHON"):
        # The tests run it in other folders.
        return path if Path(path).name == path else str(Path(path).absolute())
    spec = importlib.util.find_spec("easyocr")
    if spec is None or spec.origin is None:
        pytest.skip("no EasyOCR: tests/in_easyocr/setup.sh sets one up")
    return sys.executable


def crops(count: int) -> list[tuple[np.ndarray, str]]:
    """Words of three lengths (each new width compiles), dull ones, tall ones and a tiny one."""
    rng = np.random.default_rng(0)
    out = []
    for index in range(count):
        text = "".join(rng.choice(list("abcdefgh0123"), rng.choice([2, 5, 9])))
        image = np.full((40, 30 + 22 * len(text)), rng.integers(120, 256), np.uint8)
        ink = int(image[0, 0]) - 14 if index % 5 == 4 else int(rng.integers(0, 60))
        cv2.putText(image, text, (8, 30), cv2.FONT_HERSHEY_SIMPLEX, 1, ink, 2)
        out.append((np.ascontiguousarray(image.T) if index % 7 == 6 else image, text))
    out.append((np.full((9, 3), 200, np.uint8), "l"))
    return out


def moderate(variables):
    """Random weights whose residual sums do not grow from block to block of LCNetV4."""
    if "stem1" not in variables["params"]["FeatureExtraction"]:
        return variables
    return jax.tree.map(lambda leaf: leaf * 0.8 if leaf.ndim > 1 else leaf, variables)


@pytest.mark.parametrize(
    ("height", "options"),
    [
        (64, {"features": "vgg", "channels": 32, "hidden": 16}),
        (31, {"features": "vgg", "channels": 32, "sequence": "none"}),
        (32, {"features": "vgg", "channels": 32, "hidden": 16, "transform": "affine"}),
        (64, {"features": "resnet", "channels": 32, "hidden": 16}),
        (32, {"features": "rcnn", "channels": 32, "hidden": 16}),
        (48, {"features": "lcnetv4", "channels": 64, "hidden": 32, "sequence": "lightsvtr"}),
    ],
)
def test_every_network_reads_the_same(tmp_path, python, height, options):
    model = CRNN(CHARSET.num_classes, **options)
    variables = moderate(init_variables(model, seed=2))
    rng = np.random.default_rng(3)
    for name in ("kernel", "bias") if model.transform == "affine" else ():
        leaf = variables["params"]["Transformation"][name]
        leaf += rng.normal(0, 0.05, leaf.shape).astype(np.float32)  # not the identity
    files = write_recognizer(tmp_path, variables, name="plates", charset=CHARSET, height=height)
    recognizer = Recognizer(variables, charset=CHARSET, height=height)
    check = check_recognizer(files, recognizer, crops(20), python=python)
    print(check.table())
    assert check.faults() == []
    assert check.same_inputs == check.compared == 21
    assert len({text for way in check.ways for text in way.texts}) > 5
    # Other weights under the same settings are noticed.
    other = moderate(init_variables(model, seed=4))
    write_recognizer(tmp_path, other, name="plates", charset=CHARSET, height=height)
    faults = check_recognizer(files, recognizer, crops(3), python=python).faults()
    assert faults and "logits differ" in faults[0]


def test_what_the_doctor_finds_easyocr_refuses(tmp_path, python):
    variables = init_variables(CRNN(12, channels=32, hidden=16))
    charset = Charset("digits", tuple("0123456789 "))
    files = write_recognizer(tmp_path, variables, name="plates", charset=charset, height=64)
    settings = files.network[0]
    settings.write_text(settings.read_text().replace('"0123456789 "', "0123456789"))
    recognizer = Recognizer(variables, charset=charset, height=64)
    with pytest.raises(EasyOcrError, match="EasyOCR failed"):
        check_recognizer(files, recognizer, crops(1), python=python)


def test_two_lines_of_python(tmp_path, python):
    """A Reader finds the files in its folders, as README.txt has it."""
    variables = init_variables(CRNN(CHARSET.num_classes, channels=32, hidden=16))
    files = write_recognizer(tmp_path, variables, name="plates", charset=CHARSET, height=64)
    folder = tmp_path / "EasyOCR"
    for path, place in ((files.weights, "model"), *((p, "user_network") for p in files.network)):
        (folder / place).mkdir(parents=True, exist_ok=True)
        shutil.move(path, folder / place)
    cv2.imwrite(str(tmp_path / "word.png"), crops(1)[0][0])
    lines = (tmp_path / "README.txt").read_text("utf-8").splitlines()
    (reader,) = (line.strip() for line in lines if "easyocr.Reader(" in line)
    assert reader == "reader = easyocr.Reader(['en'], recog_network=\"plates\")"
    reader = reader.replace(")", ", gpu=False, detector=False, download_enabled=False)")
    script = Path(__file__).parents[2] / "ocrjax" / "easyocr" / "run_in_easyocr.py"
    code = script.read_text("utf-8").partition('if __name__ == "__main__"')[0]
    code += f"\neasyocr, _ = import_easyocr()\n{reader}\nprint(reader.recognize('word.png'))\n"
    done = subprocess.run(
        [python, "-"],
        input=code,
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "EASYOCR_MODULE_PATH": str(folder), "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[([[0, 0],")


def test_weights_of_torch_alone(tmp_path, python):
    variables = init_variables(CRNN(CHARSET.num_classes, channels=32, hidden=16))
    files = write_recognizer(tmp_path, variables, name="plates", charset=CHARSET, height=64)
    code = (
        f"import torch; state = torch.load({str(files.weights)!r}, weights_only=True)\n"
        "assert all(key.startswith('module.') for key in state), list(state)\n"
    )
    subprocess.run([python, "-c", code], check=True)


def test_english_g2_on_real_words(tmp_path, python):
    """EasyOCR's own network through our files reads as before: its weights come back as they were.

    Against EasyOCR's own class, since the Reader loads our module.
    """
    labels = Path(__file__).parents[3] / "shared" / "datasets" / "iiit5k" / "labels_train.tsv"
    if not labels.is_file():
        pytest.skip("the real words are not here")
    variables, _ = from_state_dict(load_weights(find_weights("english_g2")))
    charset = named("english_g2")
    files = write_recognizer(tmp_path, variables, name="words", charset=charset, height=64)
    recognizer = Recognizer(variables, charset=charset, height=64)
    real = [(crop.image(), crop.text) for crop in read_labels_tsv(labels)[:100]]
    check = check_recognizer(files, recognizer, real, python=python)
    print(check.table())
    assert check.faults() == []
    assert check.scores(check.ways[2]).alnum_accuracy().value > 0.7
    # EasyOCR's own module with our weights and settings.
    params = (
        "network_params:\n    input_channel: 1\n    output_channel: 256\n    hidden_size: 256\n"
    )
    settings, module = files.network
    settings.write_text(settings.read_text("utf-8").partition("network_params")[0] + params)
    module.write_text("from easyocr.model.vgg_model import Model\n")
    assert check_recognizer(files, recognizer, real[:20], python=python).faults() == []


def test_a_detector_finds_the_same_boxes(tmp_path, python, craft_weights):
    options = DetectorOptions()
    detector = Detector.from_weights(craft_weights, options=options)
    variables = {name: tree for name, tree in detector._variables.items()}
    path = write_detector(tmp_path, variables, name="street", options=options)
    photo = np.full((160, 320, 3), 200, np.uint8)
    for row, text in enumerate(("STREET", "words 12")):
        cv2.putText(photo, text, (20, 60 + 60 * row), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (9, 9, 9), 3)
    check = check_detector(path, detector, [("drawn", photo)], python=python)
    print(check.table())
    assert check.faults() == []
    assert check.counts[0][0] >= 2
