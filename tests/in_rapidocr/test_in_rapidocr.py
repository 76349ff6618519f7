"""Recognizers loaded and used by a real RapidOCR; tests/in_rapidocr/README.md says how."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections import defaultdict
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from craftjax.models import resize_bilinear
from crnnjax.decoding import greedy
from crnnjax.metrics import score_texts
from crnnjax.models import CRNN, options_of
from crnnjax.recognizer import load_recognizer
from crnnjax.time_steps import time_steps
from ocrcore.data.readers.crops import read_labels_tsv

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
DATASETS = HERE.parents[2] / "shared" / "datasets"


@pytest.fixture(scope="module", autouse=True)
def python():
    """An interpreter that has RapidOCR."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = os.environ.get("RAPIDOCR_PYTHON")
    if not path:
        pytest.skip("no RapidOCR: tests/in_rapidocr/setup.sh sets one up, RAPIDOCR_PYTHON names it")
    return str(Path(path).absolute())


def read(python, folder, model, crops):
    """What RapidOCR reads of RGB crops."""
    (folder / "words.onnx").write_bytes(model)
    np.savez(folder / "crops.npz", **{f"crop{k}": c[:, :, ::-1] for k, c in enumerate(crops)})
    files = [str(folder / name) for name in ("words.onnx", "crops.npz", "out.json")]
    subprocess.run([python, str(HERE / "read.py"), *files], check=True, cwd=folder)
    return json.loads((folder / "out.json").read_text("utf-8"))["texts"]


def as_scaled(crop):
    """A crop as RapidOCR scales it: 48 rows."""
    width = math.ceil(48 * crop.shape[1] / crop.shape[0])
    return cv2.resize(crop, (width, 48))


def real_crops(count):
    labels = [DATASETS / "iiit5k/labels_train.tsv", DATASETS / "icdar2015/rec_train/labels.tsv"]
    if not all(path.is_file() for path in labels):
        pytest.skip("the real words are not here")
    out = []
    for path in labels:
        crops = read_labels_tsv(path)
        step = len(crops) / (count // 2)
        out += [crops[int(index * step)] for index in range(count // 2)]
    return out


def ours(loaded, crops):
    """What our network reads, in JAX, of the very pixels that RapidOCR makes of RGB crops."""
    model = CRNN(**options_of(loaded.variables))

    @jax.jit
    def read(images, widths, steps):
        return greedy(model.apply(loaded.variables, images, widths), steps)

    high, out = loaded.height, {}
    groups = defaultdict(list)
    for index, crop in enumerate(crops):
        scaled = as_scaled(crop)
        groups[max(320, scaled.shape[1])].append((index, scaled))
    for wide, group in groups.items():
        for start in range(0, len(group), 16):
            part = group[start : start + 16]
            images = np.zeros((16, 48, wide), np.float32)
            widths = np.full(16, high)
            for row, (_, scaled) in enumerate(part):
                gray = scaled.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
                images[row] = np.pad(gray, ((0, 0), (0, wide - gray.shape[1])), mode="edge")
                width = max(-(-gray.shape[1] * high // 48), high)
                # Of both networks EasyOCR's padding is read.
                widths[row] = min(-(-width // high) * high, wide * high // 48)
            enlarged = resize_bilinear(jnp.asarray(images[..., None]), high, wide * high // 48)
            steps = time_steps(widths, features=model.features)
            found = jax.device_get(read(enlarged, widths, steps))
            for row, (index, _) in enumerate(part):
                out[index] = loaded.charset.decode(found.indices[row, : found.counts[row]])
    return [out[index] for index in range(len(crops))]


@pytest.mark.parametrize(("name", "charset"), [("english_g2", None), ("ppocrv6_small", "en95")])
def test_it_reads_what_ours_reads(tmp_path, python, name, charset):
    """The space of english_g2 is amid its characters, where RapidOCR would not look for it."""
    from ocrjax.onnx.models import rapidocr_model

    loaded = load_recognizer(name, charset=charset)
    given = {"charset": loaded.charset, "height": loaded.height, "options": loaded.options}
    labeled = real_crops(1000)
    crops = [crop.image() for crop in labeled]
    model = rapidocr_model(loaded.variables, **given).SerializeToString()
    found = read(python, tmp_path, model, crops)
    wanted = ours(loaded, crops)
    same = sum(one == two for one, two in zip(found, wanted, strict=True))
    print(f"{name}: {same} of {len(crops)} texts are the same")
    for texts, who in ((found, "RapidOCR"), (wanted, "ours")):
        scores = score_texts([loaded.charset.fold(crop.text) for crop in labeled], texts)
        print(f"{who}: {scores.alnum_accuracy().value:.4f} alphanumeric")
    assert same >= 0.99 * len(crops)
