from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from craftjax.convert import to_state_dict
from craftjax.detector import Scores
from craftjax.models import CRAFT, init_variables
from craftjax.options import DetectorOptions
from craftjax.resize import Fit
from ocrcore.data.readers.icdar import write_icdar
from ocrcore.images import write_image
from ocrcore.pages import Page, Word
from ocrcore.weights.pth import save_weights

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "lab")]
detectors, guide_table, peer_boxes, peer_detectors = (
    importlib.import_module(name)
    for name in ("detectors", "guide_table", "peer_boxes", "peer_detectors")
)
for folder in (BENCHMARKS, BENCHMARKS / "lab"):
    sys.path.remove(str(folder))

OPTIONS = DetectorOptions(
    text_threshold=0.75, link_threshold=0.2, low_text=0.5, border="crop", pad="exact"
)


def boxes(*origins: tuple[float, float], side: float = 10) -> np.ndarray:
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float64)
    return np.array([square + origin for origin in origins]).reshape(-1, 4, 2)


def blob(score: float) -> Scores:
    """One word with a single pixel of the given region score at its right end."""
    maps = np.zeros((40, 60, 2), np.float32)
    maps[10:20, 10:40, 0] = 0.9
    maps[15, 40, 0] = score
    return Scores(maps, Fit(1.0, 80, 120), 80, 120)


def rounded(scores: Scores) -> np.ndarray:
    return scores.maps.astype(np.float16).astype(np.float32)


def given(maps: np.ndarray) -> np.ndarray:
    return np.round(peer_boxes.boxes_of(maps, 1.0, OPTIONS), 2)


def test_identical_boxes_in_any_order():
    a = boxes((0, 0), (40, 3), (7, 90))
    assert peer_boxes.compare(a, a[[2, 0, 1]] + 0.05) == ([], [], [])
    moved = a.copy()
    moved[1, 2, 0] += 0.06
    mine, theirs, apart = peer_boxes.compare(a, moved[[1, 0, 2]])
    assert (mine, theirs) == ([1], [0])
    assert apart == pytest.approx([0.06])
    assert peer_boxes.compare(a, a[:2]) == ([2], [], [])
    assert peer_boxes.compare(a[:0], a) == ([], [0, 1, 2], [])


def test_a_difference_by_rounding_names_the_scores():
    scores = blob(0.5001)
    difference = peer_boxes.explain(scores, rounded(scores), OPTIONS, given(rounded(scores)))
    assert difference["identical_rounded"]
    assert (difference["unmatched_ours"], difference["unmatched_given"]) == (1, 1)
    assert [pixel["threshold"] for pixel in difference["crossed"]] == ["low_text"]
    assert difference["crossed"][0]["at"] == [40, 15]
    assert difference["crossed"][0]["off"] == pytest.approx(1e-4, abs=1e-6)
    expected = "rounding: 0.500100 at low_text (off by 1.0e-04)"
    assert peer_boxes.describe(difference) == expected
    assert peer_boxes.explain(scores, scores.maps, OPTIONS, given(scores.maps)) is None


def test_a_word_at_the_text_threshold():
    scores = blob(0.9)
    scores.maps[scores.maps == np.float32(0.9)] = 0.7499
    difference = peer_boxes.explain(scores, rounded(scores), OPTIONS, given(rounded(scores)))
    assert (difference["ours"], difference["given"]) == (0, 1)
    assert {pixel["threshold"] for pixel in difference["crossed"]} == {"text_threshold"}


def test_noise_is_told_from_another_picture():
    scores = blob(0.49998)
    noisy = blob(0.50001).maps
    difference = peer_boxes.explain(scores, scores.maps, OPTIONS, given(noisy))
    assert difference["shift"] == 3e-5
    assert peer_boxes.describe(difference).startswith("noise")
    difference = peer_boxes.explain(scores, scores.maps, OPTIONS, given(noisy) + 1)
    assert difference["shift"] is None
    assert peer_boxes.describe(difference).startswith("NOT EXPLAINED")


def test_words_that_a_line_joins():
    quads = boxes((0, 0), (12, 0), (40, 0), (0, 50)).astype(np.float32)
    words = tuple(Word(quad, care=care) for quad, care in zip(quads, (1, 1, 1, 0), strict=True))
    page = Page(100, 100, words)
    line = np.array([[0, 0], [50, 0], [50, 10], [0, 10]], np.float32)
    nothing = np.zeros((0, 4, 2), np.float32)
    assert detectors.joined_share([page], [quads]) == 0
    assert detectors.joined_share([page], [nothing]) == 0
    assert detectors.joined_share([page], [line[None]]) == 1
    half = line * np.array([0.5, 1], np.float32)  # holds the first two
    assert detectors.joined_share([page, page], [half[None], nothing]) == 2 / 6


def test_a_peer_goes_on_where_it_stopped(tmp_path, monkeypatch):
    seen: list[str] = []

    def opener():
        def run(path):
            seen.append(Path(path).name)
            return np.array([[[0, 0], [4, 0], [4, 2], [0, 2]]]) if "b" in path else None

        return run, {"limit": 3}

    out = tmp_path / "boxes.jsonl"

    def go(names, distribution="numpy"):
        seen.clear()
        monkeypatch.setitem(peer_detectors.PEERS, "fake", (distribution, opener))
        monkeypatch.setattr(sys, "argv", ["x", "fake", "--out", str(out)])
        text = "".join(f"/photos/{name}\n" for name in names)
        monkeypatch.setattr(sys, "stdin", type("In", (), {"read": lambda self: text})())
        peer_detectors.main()
        return peer_detectors.read_results(out)

    about, found = go(["a.png", "b.png"])
    assert about["peer"] == "fake"
    assert about["parameters"] == {"limit": 3}
    assert found["a.png"]["boxes"] == []
    assert found["b.png"]["boxes"] == [[[0, 0], [4, 0], [4, 2], [0, 2]]]
    with out.open("a") as file:
        file.write('{"name": "c.png", "sec')
    assert set(peer_detectors.read_results(out)[1]) == {"a.png", "b.png"}
    _, found = go(["a.png", "b.png", "c.png"])
    assert set(found) == {"a.png", "b.png", "c.png"}
    assert set(seen) == {"c.png"}
    go(["a.png"], distribution="scipy")  # another version: all again
    assert set(seen) == {"a.png"}


FAKE_PEER = """
import time
from types import SimpleNamespace as Some
class Config(dict):
    __getattr__ = dict.__getitem__
class RapidOCR:
    def __init__(self, params):
        self.cfg = Config(Global={"max_side_len": 2000, "min_side_len": 30}, Det={"thresh": 0.3})
    def __call__(self, path, use_det, use_cls, use_rec):
        assert use_det and not use_cls and not use_rec
        time.sleep(0.002)
        return Some(boxes=[[[8, 20], [120, 20], [120, 70], [8, 70]]])
"""


@pytest.fixture
def data(tmp_path):
    """A labeled folder of two pictures and narrow random weights."""
    for index in range(2):
        image = np.full((96, 160, 3), 230, np.uint8)
        cv2.putText(image, "ocrjax", (8, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (20, 20, 60), 3)
        write_image(tmp_path / "set" / "images" / f"img_{index}.png", image)
        quad = np.array([[8, 20], [120, 20], [120, 70], [8, 70]], np.float32)
        page = Page(96, 160, (Word(quad, "ocrjax"),))
        write_icdar(tmp_path / "set" / "gt" / f"gt_img_{index}.txt", page)
    save_weights(
        tmp_path / "w.pth",
        to_state_dict(init_variables(CRAFT(width=0.125), seed=1)),
    )
    return tmp_path


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    module.main()


def test_detectors_command(data, monkeypatch, capsys):
    packages = data / "packages"
    (packages / "rapidocr").mkdir(parents=True)
    (packages / "rapidocr" / "__init__.py").write_text(FAKE_PEER)
    (packages / "rapidocr-9.0.dist-info").mkdir()
    (packages / "rapidocr-9.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: rapidocr\nVersion: 9.0\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(packages))
    folders = ("--images", data / "set" / "images", "--gt", data / "set" / "gt")
    ours = ("--weights", data / "w.pth", "--scores", data / "scores")
    peers = "rapidocr,rapidocr-onnxruntime"
    rest = ("--thresholds", "0.75/0.2/0.5", "--timed", 1, "--out", data / "table.json")
    run(detectors, monkeypatch, *folders, *ours, "--peers", peers, *rest)
    printed = capsys.readouterr().out
    report = json.loads((data / "table.json").read_text())
    mine, theirs = report["rows"]
    assert mine["detector"] == "ours 0.75/0.2/0.5"
    assert "minus_ours" not in mine
    assert theirs["detector"] == "rapidocr 9.0"
    assert theirs["hmean"]["value"] == 1
    assert theirs["minus_ours"]["value"] == 1 - mine["hmean"]["value"]
    assert theirs["parameters"]["thresh"] == 0.3
    assert mine["seconds"] > 0
    assert theirs["seconds"] > 0
    assert re.search(r"\| rapidocr 9\.0 \| 2 \| 1\.0000 \| 1\.0000 \| 1\.0000 \|", printed)
    if importlib.util.find_spec("rapidocr_onnxruntime") is None:
        assert "rapidocr_onnxruntime" in report["not_run"]["rapidocr-onnxruntime"]
        assert "not run: rapidocr-onnxruntime" in printed


def test_guide_table_command(data, monkeypatch, capsys):
    out = data / "guide.json"
    run(guide_table, monkeypatch, "--out", out)
    assert capsys.readouterr().out.count("not measured") == 3 * 4
    run(
        guide_table, monkeypatch, "--ic15", data / "set", "--weights", data / "w.pth",
        "--scores", data / "scores", "--out", out,
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert printed.count("not measured") == 4
    assert "ours, w.pth, 2 photos" in printed
    rows = json.loads(out.read_text())["rows"]
    assert [row["ours"] and row["ours"]["options"]["text_threshold"] for row in rows] == [
        None, 0.85, 0.75,
    ]  # fmt: skip
    with pytest.raises(SystemExit, match=r"expected ch4_test_images/ with .* or images/ with gt/"):
        run(guide_table, monkeypatch, "--ic15", data / "scores", "--weights", data / "w.pth")
