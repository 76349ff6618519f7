"""`ocrjax detect`: what it reads of a folder, and what it says of the rest."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from craftjax.convert import to_state_dict
from craftjax.models import CRAFT, init_variables
from ocrcore.images import PageOfFile, image_size, load_image, page_count
from ocrcore.pages import read_pages
from ocrcore.weights.pth import save_weights
from ocrjax.cli.main import main

GRAY = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    save_weights(path, to_state_dict(init_variables(CRAFT(width=0.125))))
    return path


def detect(monkeypatch, weights, *arguments):
    command = ["ocrjax", "detect", *map(str, arguments), "--weights", str(weights)]
    monkeypatch.setattr(sys, "argv", [*command, "--canvas-size", "64"])
    with pytest.raises(SystemExit) as done:
        main()
    return done.value.code


def test_pages_suffixes_and_names_of_any_bytes(tmp_path, monkeypatch, capsys, weights):
    folder = tmp_path / "in"
    folder.mkdir()
    pages = [Image.fromarray(GRAY), Image.fromarray(GRAY[:32, :48]), Image.fromarray(GRAY.T)]
    pages[0].save(folder / "scan.tif", save_all=True, append_images=pages[1:])
    pages[0].save(folder / "a.jfif", format="JPEG")
    pages[0].save(folder / "b.jp2")
    pages[0].save(folder / "c.heic", format="PNG")
    pages[0].save(folder / "no_suffix", format="PNG")
    Image.fromarray(np.zeros((8, 400), np.uint8)).save(folder / "long.png")
    name = os.fsdecode(b"\xb7\xa2.png")  # GBK
    pages[0].save(folder / "x.png")
    (folder / "x.png").rename(folder / name)
    out = tmp_path / "out.json"
    code = detect(monkeypatch, weights, folder, "--json", out, "--overlay", tmp_path / "drawn")
    said = capsys.readouterr()
    assert code == 0, said.err
    found = {(Path(one["path"]).name, one.get("number")) for one in json.loads(out.read_bytes())}
    scan = {("scan.tif", number) for number in (1, 2, 3)}
    assert found == scan | {(n, None) for n in ("a.jfif", "b.jp2", "long.png", name)}
    assert all(Path(one["path"]).exists() for one in json.loads(out.read_bytes()))
    assert "long.png: 0 words; 400x8 pixels were scaled to 16% (canvas 64)" in said.out
    assert "--tile" in said.out and said.out.count("were scaled") == 1
    assert "2 image files with an unsupported suffix" in said.err
    assert "c.heic" in said.err and "no_suffix" in said.err
    drawn = {path.name for path in (tmp_path / "drawn").iterdir()}
    assert {f"scan_page{number}.png" for number in (1, 2, 3)} <= drawn
    written = out.read_bytes()
    assert detect(monkeypatch, weights, folder / "b.jp2", "--json", out) == 2
    assert "--force replaces" in capsys.readouterr().err and out.read_bytes() == written
    assert detect(monkeypatch, weights, folder / "b.jp2", "--json", out, "--force") == 0
    assert len(json.loads(out.read_bytes())) == 1
    lines = tmp_path / "out.jsonl"
    assert detect(monkeypatch, weights, folder / name, "--json", lines) == 0
    assert read_pages(lines)[0].path == str(folder / name)


def test_pages_of_a_tiff(tmp_path):
    path = tmp_path / "a.tif"
    exif = Image.Exif()
    Image.fromarray(GRAY).save(
        path, save_all=True, append_images=[Image.fromarray(GRAY[:32, :48])], exif=exif
    )
    assert page_count(path) == 2
    for number, expected in ((1, GRAY), (2, GRAY[:32, :48])):
        page = PageOfFile(str(path), number)
        assert image_size(page) == expected.shape
        np.testing.assert_array_equal(load_image(page)[:, :, 0], expected)
    with pytest.raises(ValueError, match=r"a\.tif \(page 3\): the file has 2 pages"):
        load_image(PageOfFile(str(path), 3))


def test_a_folder_of_nothing_that_is_read(tmp_path, monkeypatch, capsys, weights):
    Image.fromarray(GRAY).save(tmp_path / "c.heic", format="PNG")
    assert detect(monkeypatch, weights, tmp_path) == 2
    error = capsys.readouterr().err
    assert "no images in this folder" in error and "not supported" in error and "c.heic" in error
