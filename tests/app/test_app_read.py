"""`ocrjax read`: what it writes and prints, bad files, going on after a stop, memory."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fixed_reader import FixedDetector, FixedRecognizer, rows, stripes
from PIL import Image

from craftjax.convert import to_state_dict
from craftjax.models import CRAFT, init_variables
from crnnjax.charset import named
from crnnjax.convert import to_state_dict as recognizer_state
from crnnjax.models import CRNN
from crnnjax.models import init_variables as recognizer_variables
from ocrcore.files import write_json
from ocrcore.images import load_image, write_image
from ocrcore.pages import read_pages
from ocrcore.weights.pth import save_weights
from ocrjax.cli.main import main

ALL = ("--json", "out.jsonl", "--hocr", "hocr", "--alto", "alto", "--pdf", "pdf", "--overlay", "o")


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """Stands in for the networks; works in a folder of its own."""
    detector, recognizer = FixedDetector(rows), FixedRecognizer()
    save_weights(tmp_path / "weights.pth", {"basenet.x": np.zeros(1, np.float32)})
    monkeypatch.setattr("craftjax.detector.Detector.from_weights", lambda *a, **k: detector)
    monkeypatch.setattr("ocrjax.reader.choose_backend", lambda name: "jax")  # they have no weights
    monkeypatch.setattr("ocrjax.reader._load_recognizer", lambda *a, **k: recognizer)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    return detector


def read(monkeypatch, *arguments):
    weights = ["--detector", "weights.pth", "--recognizer", "weights.pth"]
    command = ["ocrjax", "read", *map(str, arguments), *weights, "--min-confidence", "0"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as done:
        main()
    return done.value.code


def tiff(path, *counts):
    pages = [Image.fromarray(stripes(count)) for count in counts]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def test_one_photo_is_its_text(networks, monkeypatch, capsys):
    write_image("in/a.png", stripes(2))
    assert read(monkeypatch, "in/a.png") == 0
    said = capsys.readouterr()
    assert said.out == "1 0 0\n2 0 0\n"
    assert "detector: weights.pth; text_threshold=0.7" in said.err


def test_all_outputs_of_a_folder(networks, monkeypatch, capsys):
    pytest.importorskip("reportlab")
    tiff("in/scan.tif", 1, 3)
    write_image("in/b.png", stripes(2))
    Path("in/bad.png").write_bytes(b"nothing")
    assert read(monkeypatch, "in", *ALL) == 1
    said = capsys.readouterr()
    assert "skipped in/bad.png" in said.err and "6 words on 3 pages; 1 of 4 could not" in said.out
    pages = read_pages("out.jsonl")
    found = [(page.path, page.number, [word.text for word in page.words]) for page in pages]
    assert found == [
        ("in/b.png", None, ["1 0 0", "2 0 0"]),
        ("in/scan.tif", 1, ["1 0 0"]),
        ("in/scan.tif", 2, ["1 0 0", "2 0 0", "3 0 0"]),
    ]
    written = sorted(str(path) for path in Path().glob("*/*") if path.parent.name != "in")
    assert written == [
        *("alto/b.xml", "alto/scan.xml", "hocr/b.hocr", "hocr/scan.hocr"),
        *("o/b.png", "o/scan_page1.png", "o/scan_page2.png", "pdf/b.pdf", "pdf/scan.pdf"),
    ]
    assert Path("hocr/scan.hocr").read_text().count('class="ocr_page"') == 2
    assert Path("pdf/scan.pdf").read_bytes().count(b"/Type /Page\n") == 2
    assert load_image("o/b.png").shape[0] > 20
    assert not Path("out.jsonl.unfinished").exists()
    assert read(monkeypatch, "in", *ALL) == 2
    assert "already exists; --force replaces" in capsys.readouterr().err
    assert read(monkeypatch, "in", "--json", "out.json", "--text") == 1
    said = capsys.readouterr()
    texts = "== in/b.png\n1 0 0\n2 0 0\n== in/scan.tif (page 1)\n1 0 0\n"
    assert said.out == f"{texts}== in/scan.tif (page 2)\n1 0 0\n2 0 0\n3 0 0\n"
    assert json.loads(Path("out.json").read_bytes()) == [page.to_dict() for page in pages]


def test_what_cannot_be(networks, monkeypatch, capsys):
    write_image("in/a.png", stripes(1))
    for arguments, error in (
        (("--rotations", "45"), "rotations is (45,), expected some of 90, 180 and 270"),
        (("--json", "a.txt"), "ends in .json, .jsonl"),
        (("--hocr", "in/out"), "lies in the input in"),
        (("--tile", "--canvas-size", "640"), "--canvas-size has no effect with --tile"),
    ):
        assert read(monkeypatch, "in", *arguments) == 2
        assert error in capsys.readouterr().err
    assert read(monkeypatch, "in/a.png", "--rotations", "x") == 2
    assert "'x': expected some of 90, 180 and 270" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "reportlab", None)
    assert read(monkeypatch, "in", "--pdf", "pdf") == 2
    assert "pip install 'ocrjax[pdf]'" in capsys.readouterr().err


def test_shares_together_are_one_run(networks, monkeypatch, capsys):
    monkeypatch.setattr("ocrjax.cli.read._TOGETHER", 2)
    for index in range(5):
        write_image(f"in/{index}.png", stripes(index + 1))
    Path("in/3a.png").write_bytes(b"nothing")
    tiff("in/6.tif", 1, 2)
    assert read(monkeypatch, "in", "--json", "whole.jsonl", "--hocr", "whole") == 1
    shares = ("in", "--json", "out.jsonl", "--hocr", "hocr")
    assert read(monkeypatch, *shares, "--shard", "0/2") == 1
    said = capsys.readouterr()
    assert "skipped in/3a.png" in said.err and "in/1.png: 2 words" in said.out
    assert "shard 0/2: 4 of 7 picture files are read; 1 pages of this run could not" in said.out
    assert "the same with --merge 2 in place of --shard" in said.out
    networks.drawn = 0
    assert read(monkeypatch, *shares, "--shard", "0/2") == 0 and networks.drawn == 0
    assert read(monkeypatch, *shares, "--merge", "2") == 2
    assert (
        "not complete: --shard 1/2 (out.jsonl.parts/0000001.jsonl: not" in capsys.readouterr().err
    )
    for other, message in (
        (
            (*shares, "--margin", "0.3"),
            "was started with another options; give all shares the same",
        ),
        (("in/0.png", *shares[1:]), "was started with another list of pictures"),
    ):
        assert read(monkeypatch, *other, "--merge", "2") == 2
        assert message in capsys.readouterr().err
    assert read(monkeypatch, *shares, "--shard", "1/2") == 0
    Path("hocr/3.hocr").unlink()
    os.utime("in/0.png", ns=(1, 1))
    assert read(monkeypatch, *shares, "--merge", "2") == 2
    said = capsys.readouterr().err
    gone = "in/0.png: not read, or changed since; in/3.png: an output of it is gone"
    assert f"not complete: --shard 0/2, 1/2 ({gone})" in said
    for shard in ("0/2", "1/2"):
        read(monkeypatch, *shares, "--shard", shard)
    capsys.readouterr()
    assert read(monkeypatch, *shares, "--merge", "2") == 1
    said = capsys.readouterr()
    assert "skipped in/3a.png" in said.err and "could not be read" in said.out
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    assert not Path("out.jsonl.parts").exists()
    names = sorted(path.name for path in Path("whole").iterdir())
    assert names == sorted(path.name for path in Path("hocr").iterdir())
    for name in names:
        assert Path("hocr", name).read_bytes() == Path("whole", name).read_bytes()
    assert read(monkeypatch, "in", "--hocr", "new", "--shard", "0/2") == 2
    assert "give --json FILE" in capsys.readouterr().err


def test_groups_are_read_elsewhere(networks, monkeypatch, capsys):
    monkeypatch.setattr("ocrjax.cli.read._TOGETHER", 2)
    for index in range(5):
        write_image(f"in/{index}.png", stripes(index + 1))

    def spread(open_tools, do, tasks):
        for task in [*tasks, *tasks]:  # what seems lost is started once more
            do(pickle.loads(pickle.dumps(open_tools))(), pickle.loads(pickle.dumps(task)))

    assert read(monkeypatch, "in", "--json", "whole.json", "--alto", "whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr("ocrjax.cli.read.beam_of", lambda arguments: spread)
        assert read(patch, "in", "--json", "out.json", "--alto", "alto") == 0
    assert "15 words on 5 pages; 0 of 5 could not be read" in capsys.readouterr().out
    assert Path("out.json").read_bytes() == Path("whole.json").read_bytes()
    written = {path.name: path.read_bytes() for path in Path("whole").iterdir()}
    assert written and written == {path.name: path.read_bytes() for path in Path("alto").iterdir()}


class Stopped(Exception):
    pass


def stop_after(detector, count):
    """Makes a detector end with an error after some pages."""

    def found(height, width):
        if detector.drawn > count:
            raise Stopped
        return rows(height, width)

    detector.found = found


def test_it_goes_on_where_it_was_stopped(networks, monkeypatch, capsys):
    for index in range(5):
        write_image(f"in/{index}.png", stripes(index + 1))
    tiff("in/6.tif", 1, 2)
    arguments = ("in", "--json", "out.json", "--hocr", "hocr")
    monkeypatch.setattr("ocrjax.cli.read._TOGETHER", 2)
    stop_after(networks, 4)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["ocrjax", "read"])
        with pytest.raises(Stopped):
            read(patch, *arguments)
    kept = Path("out.json.unfinished").read_text().splitlines()
    assert len(kept) == 5 and not Path("out.json").exists()
    with Path("out.json.unfinished").open("a") as file:
        file.write('{"file": "in/4.png", "cut')  # as a process leaves it that is killed
    os.utime("in/1.png", ns=(1, 1))
    Path("hocr/2.hocr").unlink()
    networks.drawn = 0
    networks.found = rows
    capsys.readouterr()
    assert read(monkeypatch, *arguments) == 0
    assert networks.drawn == 5  # one is new, one has changed, one lacks an output, two are pages
    assert "2 of 7 pages were read before" in capsys.readouterr().out
    assert not Path("out.json.unfinished").exists()
    again = Path("out.json").read_bytes()
    assert len(json.loads(again)) == 7 and len(list(Path("hocr").iterdir())) == 6
    assert read(monkeypatch, *arguments, "--force") == 0
    assert Path("out.json").read_bytes() == again


def test_it_does_not_go_on_with_other_settings(networks, monkeypatch, capsys):
    for index in range(3):
        write_image(f"in/{index}.png", stripes(1))
    monkeypatch.setattr("ocrjax.cli.read._TOGETHER", 1)
    stop_after(networks, 2)
    arguments = ("in", "--json", "out.jsonl")
    with pytest.raises(Stopped):
        read(monkeypatch, *arguments)
    networks.found, networks.drawn = rows, 0
    assert read(monkeypatch, *arguments, "--allowlist", "abc") == 2
    assert "was started with another options; repeat that" in capsys.readouterr().err
    assert read(monkeypatch, *arguments, "--allowlist", "abc", "--force") == 0
    assert networks.drawn == 3
    Path("out.jsonl.unfinished").write_text("something else\n")
    assert read(monkeypatch, *arguments, "--force") == 2
    assert "delete it" in capsys.readouterr().err


@pytest.mark.slow
def test_thousands_of_pictures_with_flat_memory(tmp_path):
    """Real networks, but narrow ones, in a process of its own; peaks of 400 and of 2,000."""
    save_weights(tmp_path / "d.pth", to_state_dict(init_variables(CRAFT(width=0.125))))
    (tmp_path / "r").mkdir()
    variables = recognizer_variables(CRNN(37, channels=16, hidden=8))
    save_weights(tmp_path / "r" / "weights.pth", recognizer_state(variables))
    write_json(tmp_path / "r" / "charset.json", named("en36").to_dict())
    config = {"data": {"height": 32}, "recognizer": {}}
    write_json(tmp_path / "r" / "config.json", config)
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(2000):
        size = (48, 64) if index % 2 else (64, 48)
        write_image(folder / f"{index}.png", rng.integers(0, 256, (*size, 3), np.uint8))
    peaks = []
    for pattern in ("1[0-3]??", "*"):
        command = [sys.executable, "-m", "ocrjax", "read"]
        command += map(str, folder.glob(f"{pattern}.png"))
        command += ["--detector", str(tmp_path / "d.pth")]
        command += ["--recognizer", str(tmp_path / "r" / "weights.pth"), "--low-text", "0.01"]
        command += ["--text-threshold", "0.01", "--json", str(tmp_path / f"{len(peaks)}.jsonl")]
        log = (tmp_path / "log").open("w")
        with log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, (tmp_path / "log").read_text()
        peaks.append(usage.ru_maxrss / 1024)
    assert len(read_pages(tmp_path / "1.jsonl")) == 2000
    assert peaks[1] - peaks[0] < 60, peaks  # MiB
