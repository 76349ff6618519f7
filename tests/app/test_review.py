"""A review: changes, the journal that keeps them, the server's refusals, and what is saved."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from crnnjax.recognizer import Reading
from ocrcore.data.readers.crops import read_labels_csv, read_labels_tsv
from ocrcore.data.readers.words import open_words
from ocrcore.images import write_image
from ocrcore.outputs import OutputError
from ocrcore.pages import LabelError, Page, Word
from ocrjax.cli import review
from ocrjax.cli.main import _parse
from ocrjax.labels.lint import lint, open_parts
from ocrjax.review.prepare import by_doubt, empty_pages, items_of, predicted_crops
from ocrjax.review.saving import MARK, save, save_crops
from ocrjax.review.server import ReviewServer
from ocrjax.review.session import ConflictError, EditError, Item, Session

HIGH, WIDE = 120, 160


def box(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def word(row, text="word", **more):
    return Word(np.array(box(10, 10 + 30 * row, 70, 26 + 30 * row), np.float32), text, **more)


@pytest.fixture
def pages(tmp_path):
    found = []
    for number in range(2):
        path = tmp_path / "photos" / f"p{number}.png"
        noise = np.random.default_rng(number).integers(0, 256, (HIGH, WIDE, 3), np.uint8)
        write_image(path, noise)
        words = word(0), word(1, "othr"), word(2, "third", care=False)
        found.append(Page(HIGH, WIDE, words, str(path)))
    return found


LACKING = np.array(box(100, 90, 150, 110), np.float32)
ITEMS = (Item(0, 1, "doubtful", "other"), Item(1, 0), Item(0, None, "lacking", "new", LACKING))


def begin(pages, tmp_path, items=ITEMS):
    return Session(pages, tmp_path / "out.jsonl", lambda: (pages, items))


def texts(session):
    return [[w.text if w.care else "###" for w in page.words] for page in session.result()]


def change(session, action, page=0, word=1, **more):
    version = session.state(page, word)["version"]
    return session.edit({"action": action, "page": page, "word": word, "version": version, **more})


def test_changes(pages, tmp_path):
    session = begin(pages, tmp_path)
    assert [(one["word"], one["done"]) for one in session.states()] == [(1, 0), (0, 0), (3, 0)]
    assert session.states()[2]["removed"] and session.states()[2]["read"] == "new"
    assert change(session, "text", text=" other  word ", keys=4)["text"] == "other word"
    assert change(session, "ignore", page=1, word=0)["care"] is False
    made = change(session, "text", word=3, text="new")
    assert made["quad"] == LACKING.tolist() and made["done"]
    assert change(session, "remove", word=0)["removed"]
    quad = box(10, 40, 90, 60)
    assert change(session, "quad", quad=quad)["quad"] == [list(map(float, p)) for p in quad]
    added = session.edit({"action": "add", "page": 1, "quad": box(100, 10, 150, 30), "text": ""})
    assert (added["word"], added["done"]) == (3, False)
    assert change(session, "text", page=1, word=3, text="added")["done"]
    assert texts(session) == [["other word", "###", "new"], ["###", "othr", "###", "added"]]
    assert session.result()[0].words[0].quad.tolist() == [list(map(float, p)) for p in quad]
    assert session.keys == 4
    for _ in range(7):
        session.edit({"action": "undo"})
    assert session.result() == pages
    with pytest.raises(EditError, match="nothing to undo"):
        session.edit({"action": "undo"})
    assert not any(one["done"] for one in session.states())


def test_a_journal_goes_on_after_a_kill(pages, tmp_path):
    session = begin(pages, tmp_path)
    change(session, "text", text="other")
    change(session, "accept", page=1, word=0)
    session.edit({"action": "add", "page": 1, "quad": box(100, 10, 150, 30), "text": "x"})
    session.edit({"action": "undo"})
    before = session.states()
    with session.journal.open("ab") as file:
        file.write(b'{"action": "text", "page": 0, "wo')  # killed while it was written

    def never():
        raise AssertionError("what to look at is in the journal")

    again = Session(pages, session.journal, never)
    assert again.states() == before
    assert texts(again)[0][1] == "other"
    change(again, "text", text="better")
    assert texts(Session(pages, session.journal, never))[0][1] == "better"
    with pytest.raises(EditError, match="another review is writing to"):
        change(session, "text", text="worse")
    other = [pages[0].with_words(pages[0].words[:1]), pages[1]]
    with pytest.raises(LabelError, match=r"out.jsonl:1.*belongs to other labels"):
        Session(other, session.journal, never)
    lines = session.journal.read_bytes().splitlines(keepends=True)
    session.journal.write_bytes(b"".join([lines[0], b"{}\n", *lines[1:]]))
    with pytest.raises(LabelError, match=r"out.jsonl:2.*action is None"):
        Session(pages, session.journal, never)


def test_predictions_are_kept(pages, tmp_path):
    empty = [page.with_words(()) for page in pages]
    read = [
        page.with_words([word(0, "sure", confidence=0.9), word(1, "not", confidence=0.2)])
        for page in pages
    ]
    session = Session(empty, tmp_path / "out.jsonl", lambda: (read, by_doubt(read)))
    assert [(one.page, one.word, one.why) for one in session.items[1:3]] == [
        (1, 1, "20% sure"),
        (0, 0, "90% sure"),
    ]
    change(session, "text", text="note")
    again = Session(empty, session.journal, lambda: (_ for _ in ()).throw(AssertionError))
    assert texts(again) == [["sure", "note"], ["sure", "not"]]
    assert again.result()[0].words[1].confidence is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"action": "burn"}, "action is 'burn'"),
        ({"action": "text", "page": 2}, "page is 2"),
        ({"action": "text", "page": True}, "page is True"),
        ({"action": "text", "word": -1}, "word is -1"),
        ({"action": "text", "text": " "}, "the text is empty"),
        ({"action": "text", "text": 5}, "expected a string"),
        ({"action": "text", "text": "\ud800"}, "half a character"),
        ({"action": "quad", "quad": [[0, 0]] * 4}, "less than a pixel"),
        ({"action": "quad", "quad": [[0, 0], [1, 1]]}, "four corners"),
        ({"action": "quad", "quad": "a"}, "four corners"),
        ({"action": "quad", "quad": [[0, 0], [1e9, 0], [1, 1], [0, 1]]}, "in pixels"),
        ({"action": "add", "quad": [[0, 0], [float("nan"), 0], [1, 1], [0, 1]]}, "in pixels"),
        ({"action": "accept", "keys": "many"}, "keys is 'many'"),
        ({"action": "ignore", "word": 3}, "type its text first"),
    ],
)
def test_changes_that_cannot_be_leave_no_trace(pages, tmp_path, values, message):
    session = begin(pages, tmp_path)
    before = session.journal.read_bytes()
    with pytest.raises(EditError, match=message):
        session.edit({"page": 0, "word": 1, "version": 0, **values})
    assert session.journal.read_bytes() == before and session.result() == pages


def test_two_tabs(pages, tmp_path):
    session = begin(pages, tmp_path)
    session.edit({"action": "text", "page": 0, "word": 1, "version": 0, "text": "one"})
    with pytest.raises(ConflictError):
        session.edit({"action": "text", "page": 0, "word": 1, "version": 0, "text": "two"})
    assert texts(session)[0][1] == "one"


def test_what_to_look_at(pages, tmp_path):
    lines = ["10,10,70,10,70,26,10,26,sound", "10,40,70,56,70,40,10,56,cross"]
    (tmp_path / "gt").mkdir()
    for number in range(2):
        (tmp_path / "gt" / f"gt_p{number}.txt").write_text("\n".join(lines))
    (tmp_path / "photos").rename(tmp_path / "images")
    found = lint(open_parts(tmp_path)[0])
    assert [(one.page, one.word) for one in items_of(found)] == [(0, 1), (1, 1)]
    assert items_of(found)[0].why.startswith("self-crossing: ")
    every = [(one.page, one.word) for one in items_of(found, every=True)]
    assert every == [(0, 1), (1, 1), (0, 0), (1, 0)]


def test_saving(pages, tmp_path):
    session = begin(pages, tmp_path)
    change(session, "text", text="other")
    out, parts = tmp_path / "out", [("train", 1, "icdar2015"), ("test", 1, "icdar2015")]
    assert save(session, out, parts) == f"written: {out}, 6 words"
    assert (out / "gt/gt_p0.txt").read_text().splitlines()[1].endswith(",other")
    assert (out / "test/images/p1.png").is_file()
    change(session, "text", text="better")
    save(session, out, parts)
    assert (out / "gt/gt_p0.txt").read_text().splitlines()[1].endswith(",better")
    assert (out / MARK).read_text().splitlines()[2:] == ["p0.png\t3\t3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.jsonl", "photos"]
    session.journal.rename(tmp_path / "elsewhere.jsonl")
    with pytest.raises(OutputError, match="earlier review, but its journal"):
        save(session, out, parts)
    (out / MARK).unlink()
    with pytest.raises(OutputError, match="name a new folder"):
        save(session, out, parts)


def test_a_save_that_fails_keeps_the_one_before(pages, tmp_path, monkeypatch):
    session = begin(pages, tmp_path)
    out, parts = tmp_path / "old", [("train", 2, "icdar2015")]
    for text in ("other", "better"):
        change(session, "text", text=text)
        save(session, out, parts)
    before = sorted(path.name for path in out.iterdir())
    rename = Path.rename

    def fails(path, target):
        if Path(target) == out and path.name == out.name:
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no"):
        save(session, out, parts)
    assert sorted(path.name for path in out.iterdir()) == before


def test_a_file_that_is_no_journal_is_kept(pages, tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text('{"mine": 1}')  # one line, without an end
    with pytest.raises(LabelError, match=r"out.jsonl:1.*a journal of a review"):
        begin(pages, tmp_path)
    assert path.read_text() == '{"mine": 1}'


def test_what_is_left_out_is_told(pages, tmp_path, capsys):
    photos = tmp_path / "photos"
    (photos / "gt_p0.txt").write_text("10,10,70,10,70,26,10,26,sound\n1,2,no box\n")
    (photos / "gt_p1.txt").write_text("10,10,70,10,70,26,10,26,sound\n")
    (photos / "p1.png").write_bytes((photos / "p1.png").read_bytes()[:500])
    arguments = _parse(["ocrjax", "review", str(photos), "--out", str(tmp_path / "out"), "--save"])
    assert arguments.run(arguments) == 1
    said = capsys.readouterr().out
    assert "broken line, left out: " in said and "gt_p0.txt:2" in said
    assert "broken picture, left out: " in said and "p1.png" in said
    (found,), (error,) = empty_pages(photos)
    assert found.path == str(photos / "p0.png") and "p1.png" in str(error)
    arguments.port = 1 << 16
    with pytest.raises(ValueError, match="--port is 65536, expected 1 to 65535"):
        arguments.run(arguments)


def test_texts_that_mark_words_nobody_can_read(pages, tmp_path):
    for number in range(2):
        label = tmp_path / "photos" / f"gt_p{number}.txt"
        label.write_text("10,10,70,10,70,26,10,26,*\n10,40,70,40,70,56,10,56,###\n")
    out = tmp_path / "out"
    options = ("--out", str(out), "--every", "--save", "--dont-care", "*", "--")
    arguments = _parse(["ocrjax", "review", *options, str(tmp_path / "photos")])
    assert arguments.run(arguments) == 0
    read = open_words(out, dont_care=())
    assert [(word.text, word.care) for word in read.page(0).words] == [("###", True)] * 2
    # The other text is a word as any other, which may be reviewed.
    items = json.loads(Path(f"{out}.jsonl").read_text().splitlines()[0])["items"]
    assert [(item["page"], item["word"]) for item in items] == [(0, 1), (1, 1)]


class Recognizer:
    """Reads the number in the name of a crop; a higher one is surer."""

    def recognize(self, paths):
        numbers = [int(Path(path).stem) for path in paths]
        return [Reading(f"word {number}" if number else "", number / 10) for number in numbers]


@pytest.fixture
def crops(tmp_path):
    folder = tmp_path / "crops"
    for number in (3, 0, 2, 1):
        write_image(folder / f"{number}.png", np.full((20, 30 + number, 3), number, np.uint8))
    return folder


def test_crops_the_least_sure_first(crops, tmp_path):
    empty, bad = empty_pages(crops)
    reader = SimpleNamespace(recognizer=Recognizer())
    session = Session(
        empty, tmp_path / "out.jsonl", lambda: predicted_crops(empty, reader, together=3)
    )
    assert not bad and [(one.page, one.why, one.read) for one in session.items] == [
        (0, "0% sure", ""),
        (1, "10% sure", "word 1"),
        (2, "20% sure", "word 2"),
        (3, "30% sure", "word 3"),
    ]
    assert session.pages[3].words[0].quad.tolist() == [[0, 0], [33, 0], [33, 20], [0, 20]]
    out = tmp_path / "out"
    assert save_crops(session, out, "easyocr-csv").startswith("nothing was written")
    assert not out.exists()
    change(session, "accept", page=2, word=0)
    change(session, "text", page=0, word=0, text="typed, with a comma")
    change(session, "ignore", page=1, word=0)
    assert save_crops(session, out, "easyocr-csv").startswith(f"written: {out}, 2 crops")
    read = read_labels_csv(out)
    assert [crop.text for crop in read] == ["typed, with a comma", "word 2"]
    assert Path(read[1].name).read_bytes() == (crops / "2.png").read_bytes()
    assert (out / MARK).read_text().splitlines()[2:] == [
        f"{crops / '0.png'}\ttyped, with a comma",
        f"{crops / '2.png'}\tword 2",
    ]
    change(session, "remove", page=2, word=0)
    save_crops(session, out, "easyocr-csv")
    assert [crop.text for crop in read_labels_csv(out)] == ["typed, with a comma"]


def test_some_of_the_crops_by_the_command(crops, tmp_path, capsys, monkeypatch):
    (crops / "9.png").write_bytes((crops / "1.png").read_bytes()[:60])
    reader = SimpleNamespace(recognizer=Recognizer())
    monkeypatch.setattr(review, "_reader", lambda arguments: reader)
    out = tmp_path / "out"

    def run(*more):
        arguments = _parse(["ocrjax", "review", str(crops), "--out", str(out), *more])
        return arguments.run(arguments)

    few = ("--predict", "--crops", "--count", "2", "--to", "ppocr-rec", "--save")
    assert run(*few) == 1  # a broken crop
    said = capsys.readouterr().out
    assert "left out: " in said and "9.png" in said and "2 words to review, 0 done" in said
    journal = Path(f"{out}.jsonl")
    edit = {"action": "text", "page": 1, "word": 0, "version": 0, "text": "right", "keys": 6}
    with journal.open("a") as file:
        file.write(json.dumps(edit) + "\n")
    run(*few)
    assert "1 done" in capsys.readouterr().out
    assert [crop.text for crop in read_labels_tsv(out / "rec_gt.txt")] == ["right"]
    journal.unlink()
    with pytest.raises(OutputError, match="earlier review"):
        run(*few)
    shutil.rmtree(out)
    run("--predict", "--crops", "--shuffle", "--count", "3", "--save")
    pages = [one["page"] for one in json.loads(journal.read_text())["items"]]
    assert len(set(pages)) == 3 and pages != [0, 1, 2]
    for arguments, message in (
        (("--crops",), "--crops needs --predict"),
        (("--predict", "--count", "0"), "--count is 0, expected 1 or more"),
        (("--predict", "--to", "lmdb"), "expected a format of images"),
        (("--predict", "--crops", "--to", "via"), "expected a format of crops"),
        (("--predict", "--crops", "--detector", "x"), "--detector has no effect with --crops"),
    ):
        with pytest.raises(ValueError, match=message):
            run(*arguments)


@contextmanager
def serving(session, said="saved"):
    server = ReviewServer(session, lambda: said, title="set <b>")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def request(server, method, place, body=None, token=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers.setdefault("Content-Type", "application/json")
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
    connection.request(method, f"/{token or server.token}/{place}", data, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


def test_server(pages, tmp_path):
    session = begin(pages, tmp_path)
    with serving(session) as server:
        status, page, headers = request(server, "GET", "")
        assert status == 200 and b"review.js" in page
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Referrer-Policy"] == "no-referrer"
        found = json.loads(request(server, "GET", "items")[1])
        assert found["title"] == "set <b>" and len(found["items"]) == 3
        assert len(json.loads(request(server, "GET", "words/0")[1])) == 4
        assert request(server, "GET", "picture/1")[1].startswith(b"\xff\xd8\xff")
        edit = {"action": "text", "page": 0, "word": 1, "version": 0, "text": "other"}
        assert json.loads(request(server, "POST", "edit", edit)[1])["text"] == "other"
        status, said, _ = request(server, "POST", "edit", edit)
        assert status == 409 and "has changed" in json.loads(said)["error"]
        assert json.loads(request(server, "POST", "save", {})[1]) == {"said": "saved"}
    assert texts(session)[0][1] == "other"


def test_the_server_refuses_others(pages, tmp_path):
    session = begin(pages, tmp_path)
    edit = {"action": "text", "page": 0, "word": 1, "version": 0, "text": "bad"}
    with serving(session) as server:
        assert server.server_address[0] == "127.0.0.1"
        for status, method, place, more in (
            (404, "GET", "items", {"token": "x"}),
            (404, "POST", "edit", {"token": "x"}),
            (404, "GET", "../session.py", {}),
            (404, "GET", "picture/9", {}),
            (404, "GET", "picture/-1", {}),
            (404, "POST", "other", {}),
            (403, "POST", "edit", {"Origin": "http://evil.example"}),
            (403, "POST", "edit", {"Origin": "null"}),
            (403, "POST", "edit", {"Host": "evil.example"}),
            (403, "GET", "items", {"Sec_Fetch_Site": "cross-site"}),
            (400, "POST", "edit", {"Content_Type": "text/plain"}),
        ):
            body = edit if method == "POST" else None
            assert request(server, method, place, body, **more)[0] == status, (place, more)
        assert request(server, "POST", "edit", b"[" * 5000)[0] == 400
        assert request(server, "POST", "edit", b"[]")[0] == 400
        assert request(server, "POST", "edit", b" " * (1 << 17))[0] == 400
    assert session.result() == pages


def test_command_survives_a_kill(pages, tmp_path):
    for number in range(2):
        (tmp_path / "photos" / f"gt_p{number}.txt").write_text(
            "10,40,70,56,70,40,10,56,cross\n10,10,70,10,70,26,10,26,sound\n"
        )
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "ocrjax",
        "review",
        str(tmp_path / "photos"),
        "--out",
        str(out),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        address = next(line for line in process.stdout if "http" in line).split()[-1]
        port, token = address.split(":")[2].split("/")[:2]
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
        edit = {"action": "text", "page": 0, "word": 0, "version": 0, "text": "kept"}
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"/{token}/edit", json.dumps(edit), headers)
        assert connection.getresponse().status == 200
        os.kill(process.pid, signal.SIGKILL)
    arguments = _parse(["ocrjax", *command[3:], "--save"])
    assert arguments.run(arguments) == 0
    read = open_words(out, kind="auto")
    assert [[w.text for w in read.page(n).words] for n in range(2)] == [
        ["kept", "sound"],
        ["cross", "sound"],
    ]
    assert Path(f"{out}.jsonl").read_text().count("\n") == 2
