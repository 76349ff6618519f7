"""Files that would take the process, its memory or its time: pipes, cut LMDBs, huge pictures."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import zlib

import cv2
import numpy as np
import pytest

from crnnjax.lexicon import as_lexicon
from ocrcore import images
from ocrcore.data.readers.characters import PhotoFolder, read_characters
from ocrcore.data.readers.crops import LmdbCrops, read_labels_csv, read_labels_tsv
from ocrcore.data.readers.icdar import read_icdar
from ocrcore.data.readers.mat import read_cells
from ocrcore.images import (
    ImageError,
    check_image,
    decode_image,
    encode_image,
    image_size,
    read_image,
    write_image,
)
from ocrcore.pages import LabelError, read_pages

IMAGE = np.full((8, 20, 3), 90, np.uint8)


@pytest.fixture
def soon():
    """Ends a test that waits for a pipe."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.mark.parametrize(
    "read",
    [
        *(read_image, image_size, check_image, read_icdar, read_labels_tsv, read_pages),
        lambda path: read_cells(path, ()),
        lambda path: read_characters(path, ()),
        lambda path: as_lexicon(path, None),
        lambda path: images.read_bytes(path),
    ],
)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_only_regular_files_are_opened(tmp_path, soon, read, kind):
    path = tmp_path / "p.jpg"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises((OSError, ValueError), match="not a regular file"):
        read(path)


def test_pipes_in_folders_are_no_labels(tmp_path, soon):
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(LabelError, match=r"a folder with a labels\.csv"):
        read_labels_csv(tmp_path)
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(LabelError, match="no image"):
        PhotoFolder(tmp_path, tmp_path, None)


def make_lmdb(folder, count):
    lmdb = pytest.importorskip("lmdb")
    rng = np.random.default_rng(0)
    with lmdb.open(str(folder), map_size=1 << 24) as environment:
        for first in range(0, count, 10):
            with environment.begin(write=True) as transaction:
                for number in range(first + 1, first + 11):
                    transaction.put(b"image-%09d" % number, rng.bytes(3000))
                    transaction.put(b"label-%09d" % number, b"word")
        with environment.begin(write=True) as transaction:
            transaction.put(b"num-samples", b"%d" % count)
    return (folder / "data.mdb").read_bytes()


def test_no_cut_lmdb_kills_the_process(tmp_path):
    whole = make_lmdb(tmp_path / "whole", 50)
    cuts = np.linspace(0, len(whole) - 1, 100).astype(int)
    for cut in cuts:
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "data.mdb").write_bytes(whole[:cut])
    program = (
        "import sys; from pathlib import Path\n"
        "from ocrcore.data.readers.crops import LmdbCrops\n"
        "from ocrcore.pages import LabelError\n"
        "assert sum(len(crop.data) for crop in LmdbCrops(Path(sys.argv[1], 'whole'))) == 150000\n"
        "for path in Path(sys.argv[1]).glob('cut*'):\n"
        "    try: [crop for crop in LmdbCrops(path)]\n"
        "    except LabelError as error: print('refused', 'data.mdb' in str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["refused True"] * len(cuts)
    with pytest.raises(LabelError, match=r"bytes as its header says: the copy is cut off"):
        LmdbCrops(tmp_path / f"cut{cuts[-1]}")


def test_crops_behind_the_count_are_said(tmp_path):
    make_lmdb(tmp_path / "whole", 10)
    assert not LmdbCrops(tmp_path / "whole").note
    import lmdb

    with (
        lmdb.open(str(tmp_path / "whole"), map_size=1 << 24) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"num-samples", b"7")
    crops = LmdbCrops(tmp_path / "whole")
    assert len(crops) == 7
    assert "num-samples says 7, but there are further crops" in crops.note


def chunk(name, content, length=None):
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content) if length is None else length) + name + content + check


def png(width, height, *chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks)


def huge_jpeg():
    data = bytearray(encode_image(IMAGE))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 30000, 30000)
    return bytes(data)


HUGE = {
    "png": png(30000, 30000, chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b"")),
    "jpg": huge_jpeg(),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 30000, 30000, 0x80, 0, 0) + bytes(20) + b";",
    "bmp": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 30000, -30000, 1, 24, 0) + bytes(20),
    "webp": b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + (29999).to_bytes(3, "little") * 2,
    "jp2": b"\xff\x4f\xff\x51" + bytes(4) + struct.pack(">IIII", 30000, 30000, 0, 0) + bytes(40),
    "pgm": b"P5\n# made by hand\n30000 30000 255\n" + bytes(100),
}


@pytest.mark.parametrize("suffix", HUGE)
def test_huge_pictures_are_refused_by_their_headers(tmp_path, suffix):
    path = tmp_path / f"huge.{suffix}"
    path.write_bytes(HUGE[suffix])
    for read in (read_image, image_size, check_image):
        with pytest.raises(ImageError, match=r"huge\.\w+: .*30000x30000 pixels by its header"):
            read(path)


def test_chunks_that_claim_more_than_the_file(tmp_path):
    data = png(8, 8, chunk(b"iCCP", b"x" * 100, length=(1 << 32) - 20))
    path = tmp_path / "chunk.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"chunk\.png: its chunk 'iCCP' claims 4,294,967,276 byte"):
        read_image(path)
    assert image_size(path) == (8, 8)  # the header alone


def test_the_bound_of_pixels_is_an_option(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", IMAGE)
    monkeypatch.setenv("OCRJAX_MAX_PIXELS", "159")
    with pytest.raises(ImageError, match=r"a\.png: 20x8 pixels .*OCRJAX_MAX_PIXELS="):
        read_image(tmp_path / "a.png")
    monkeypatch.setenv("OCRJAX_MAX_PIXELS", "160")
    assert read_image(tmp_path / "a.png").shape == IMAGE.shape
    monkeypatch.setenv("OCRJAX_MAX_PIXELS", "many")
    with pytest.raises(ImageError, match="OCRJAX_MAX_PIXELS is 'many': expected a number"):
        image_size(tmp_path / "a.png")


def test_large_pictures_are_decoded_within_one_bound(monkeypatch):
    data = encode_image(np.zeros((100, 100, 3), np.uint8), suffix=".png")
    monkeypatch.setattr(images, "_LARGE", 100)
    monkeypatch.setenv("OCRJAX_MAX_PIXELS", "25000")
    lock, running, most = threading.Lock(), 0, 0
    decode = cv2.imdecode

    def slow(*args):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.02)
        with lock:
            running -= 1
        return decode(*args)

    monkeypatch.setattr(images.cv2, "imdecode", slow)
    threads = [threading.Thread(target=decode_image, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_picture_that_breaks_off_is_found(suffix):
    rng = np.random.default_rng(0)
    data = encode_image(rng.integers(0, 256, (64, 64, 3), np.uint8), suffix=suffix)
    check_image(data)
    check_image(encode_image(IMAGE[:2, :3], suffix=suffix))
    for cut in range(0, len(data) - 20, 101):
        with pytest.raises(ImageError):
            check_image(data[:cut], name="a")
