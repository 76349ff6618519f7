"""The page of examples/web in a real Chromium, with two tiny models."""

from __future__ import annotations

import contextlib
import functools
import http.server
import subprocess
import threading
import time

import pytest
from browser import MISSING, browser
from test_onnx import CHARSET, craft, network, photos  # noqa: F401
from test_web import NODE, WEB, with_runtime

from craftjax.options import DetectorOptions
from ocrcore.images import write_image
from ocrjax.onnx import read_onnx
from ocrjax.onnx.models import detector_model, rapidocr_model, recognizer_model

# Chromium takes several seconds to start on a busy machine.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=MISSING or ""),
    pytest.mark.skipif(NODE is None, reason="needs Node.js"),
    with_runtime,
]
VALUE = "return document.getElementById(arguments[0]).textContent"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def served(folder):
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def wait(page, name, *texts):
    """Until an element says one of some texts."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = page.run(VALUE, name)
        if any(text in found for text in texts):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{name} says {found!r}, expected one of {texts}")


def choose(page, path):
    (found,) = page.call("POST", "/element", using="css selector", value="#file").values()
    page.call("POST", f"/element/{found}/value", text=str(path))


@pytest.fixture(scope="module")
def made(tmp_path_factory, craft):  # noqa: F811
    """The built page, and the folder of its models."""
    folder = tmp_path_factory.mktemp("web")
    thresholds = {"text_threshold": 0.1, "low_text": 0.05, "link_threshold": 0.1}
    models = {
        "detector": detector_model(craft, DetectorOptions(**thresholds, canvas_size=128)),
        "recognizer": recognizer_model(network()[1], charset=CHARSET, height=32),
    }
    options = []
    for name, model in models.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        options += [f"--{name}", str(path)]
    command = [NODE, str(WEB / "build.js"), "--out", str(folder / "dist"), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_words_are_found_and_read(made, tmp_path):
    path = tmp_path / "photo.png"
    photo = photos()[0][1]
    write_image(path, photo)
    found = read_onnx.Detector(made / "detector.onnx").detect(photo)
    crops = [read_onnx.cut(photo, quad) for quad, _ in found]
    texts = {text for text, _ in read_onnx.Recognizer(made / "recognizer.onnx").read(crops)}
    with served(made / "dist") as address, browser() as page:
        page.call("POST", "/url", url=address)
        wait(page, "status", "Ready for a photo")
        choose(page, path)
        assert wait(page, "status", "words in", "1 word in").startswith(f"{len(found)} word")
        shown = page.run(
            "return [...document.querySelectorAll('#words button span')].map((e) => e.textContent)"
        )
        assert set(shown) == {text or "nothing read" for text in texts} and len(shown) == len(found)
        polygons = "return document.querySelectorAll('#boxes polygon').length"
        assert page.run(polygons) == len(found) >= 1
        page.run("document.querySelector('#words button').focus()")
        assert page.run("return document.querySelectorAll('#boxes .chosen').length") == 1
        page.run("document.querySelector('[name=heat][value=region]').click()")
        assert page.run("return document.getElementById('heat').width") > 10

        page.run(
            "const it = document.getElementById('text_threshold'); it.value = 0.95;"
            "it.dispatchEvent(new Event('input'))"
        )
        wait(page, "status", "No words were found")
        assert page.run(polygons) == 0
        asked = page.run("return performance.getEntriesByType('resource').map((e) => e.name)")
        assert asked and all(one.startswith(address) for one in asked)
        assert page.errors() == []


def test_errors_in_words(made, tmp_path):
    (tmp_path / "note.txt").write_text("no picture")
    rapid = rapidocr_model(network()[1], charset=CHARSET, height=32)
    (tmp_path / "rapid.onnx").write_bytes(rapid.SerializeToString())
    kept = (made / "dist" / "models" / "detector.onnx").read_bytes()
    with served(made / "dist") as address, browser() as page:
        (made / "dist" / "models" / "detector.onnx").unlink()
        page.call("POST", "/url", url=address)
        wait(page, "error", "The model models/detector.onnx is missing (404)")
        page.errors()  # of the console: the 404
        choose(page, tmp_path / "note.txt")
        wait(page, "error", "note.txt is not a picture")
        choose(page, tmp_path / "rapid.onnx")
        wait(page, "error", 'rapid.onnx has no metadata named "ocrjax"')
        page.run("document.dispatchEvent(new ClipboardEvent('paste'))")
        wait(page, "error", "No file came along")
        write_image(tmp_path / "photo.png", photos()[0][1])
        choose(page, tmp_path / "photo.png")
        wait(page, "error", "There is no detector")
        choose(page, made / "detector.onnx")  # in its place
        wait(page, "status", "words in", "1 word in")
        assert page.errors() == []
    (made / "dist" / "models" / "detector.onnx").write_bytes(kept)
