from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from ocrcore.evaluation.label_errors import Suspect
from ocrcore.evaluation.statistics import Interval
from ocrcore.images import write_image
from ocrcore.outputs import OutputError
from ocrcore.pages import Page, Word
from ocrjax.cli import report as command
from ocrjax.report.data import (
    Chart,
    Count,
    CropReading,
    Dropped,
    Picture,
    Report,
    Score,
    Series,
    ShownSuspect,
    Threshold,
    Thresholds,
)
from ocrjax.report.images import heat_map, small_maps, thumbnail
from ocrjax.report.page import render, write_report
from ocrjax.report.runs import ReportError, compared, read_run
from ocrjax.report.svg import draw_chart, log_ticks, ticks
from ocrjax.report.texts import confusions, differences

EVIL = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"quotes\" & 'apostrophes'",
    "\u202eright to left שלום",
    "<!--",
    "{{data}} \\1 \u2028",
)


class Parsed(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])


def box(x, y):
    return [[x, y], [x + 40, y], [x + 40, y + 10], [x, y + 10]]


def noise(height=120, width=160, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def picture(text="word", seed=0):
    truth = Page(
        120, 160, tuple(Word(quad=box(5, y), text=text) for y in (5, 25, 45)), path="a.png"
    )
    words = [
        Word(quad=box(5, 5), text=text),
        Word(quad=box(6, 25), text="other"),
        Word(quad=box(60, 90), text="extra"),
    ]
    maps = np.random.default_rng(seed).random((30, 40, 2)).astype(np.float32)
    return Picture(truth, truth.with_words(words), image=noise(seed=seed), maps=maps)


def full(text):
    """A report whose every text is the same."""
    point = Threshold(0.7, 0.4, 0.4, 0.8, 0.9, 0.7)
    gain = Interval(0.1, 0.05, 0.2)
    return Report(
        title=text,
        summary=(text,),
        columns=(text, text),
        scores=(Score(text, Interval(0.5, 0.4, 0.6), Interval(0.6, 0.5, 0.7), gain, text),),
        counts=(Count(text, 3, text),),
        dropped=(Dropped(text, text, 2, (text,)),),
        charts=(Chart(text, (Series(text, ((0.0, 1.0), (10.0, 0.5))),)),),
        pictures=[picture(text)],
        crops=[CropReading(text, text, text[::-1] + "x", 0.5, noise(20, 60), text)],
        thresholds=Thresholds((point,), point, point, text),
        suspects=[ShownSuspect(Suspect("text", 3.0, text, 0, text, text, 0.9, ()), noise(20, 60))],
        gallery=[(text, noise())],
        commands=((text, text),),
        environment=((text, text),),
        hashes=((text, text),),
        notes=(text,),
    )


@pytest.mark.parametrize("text", EVIL)
def test_texts_are_never_markup(text):
    page = render(full(text))
    plain, parsed = (Parsed(one).tags for one in (render(full("plain")), page))
    assert {tag for tag, _ in parsed} == {tag for tag, _ in plain}
    names = [tag for tag, _ in parsed]
    assert names.count("script") == 2 and names.count("img") == 0  # the script makes pictures
    attributes = {name for _, attrs in parsed for name in attrs}
    assert "style" not in attributes and not any(name.startswith("on") for name in attributes)
    data = data_of(page)
    assert data["crops"][0]["truth"] == text and data["pictures"][0]["words"][0][2] == text


def test_the_page_asks_for_nothing_and_its_policy_allows_only_itself():
    page = render(full("x"))
    parsed = Parsed(page)
    (policy,) = (a["content"] for t, a in parsed.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.S)
    for text in (*scripts, style):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    places = [a[n] for _, a in parsed.tags for n in ("src", "href", "action", "data") if n in a]
    assert all(place.startswith(("#", "data:")) for place in places)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|innerHTML|eval\(", page)


def test_sections_without_data_are_left_out():
    page = Parsed(render(Report("empty")))
    assert [attrs for tag, attrs in page.tags if tag == "section"] == []
    whole = Parsed(render(full("x")))
    names = {attrs["id"] for tag, attrs in whole.tags if tag == "section"}
    assert len(names) == 11
    links = [attrs["href"] for tag, attrs in whole.tags if tag == "a"][1:]
    assert {link[1:] for link in links} == names


def test_words_of_a_picture_by_kind_and_cost():
    right = Picture(picture().truth, picture().truth, image=noise())
    one, other = data_of(render(Report("x", pictures=[right, picture()])))["pictures"]
    assert one["counts"] == {"hit": 1, "misread": 1, "missed": 1, "false": 1}
    assert (one["cost"], other["cost"]) == (3, 0)
    assert one["heat"].startswith("data:image/webp") and other["heat"] == ""
    kinds = {word[0]: word[2:] for word in one["words"]}
    assert kinds["missed"] == ["word", None] and kinds["false"] == [None, "extra"]


def test_case_does_not_count_where_it_is_told():
    found = picture().truth.words[0].text.upper()
    truth = picture().truth
    upper = truth.with_words([Word(quad=w.quad, text=found) for w in truth.words])
    one = [Picture(truth, upper, image=noise())]
    assert data_of(render(Report("x", pictures=one)))["pictures"][0]["cost"] == 3
    assert data_of(render(Report("x", pictures=one, texts="alnum")))["pictures"][0]["cost"] == 0
    with pytest.raises(ValueError, match="expected one of exact, alnum"):
        Report("x", texts="words")


def test_a_picture_that_cannot_be_read_is_said():
    page = render(Report("x", pictures=[Picture(picture().truth, picture().found)]))
    assert data_of(page)["pictures"][0]["src"] == ""
    assert "1 images could not be shown" in page and "a.png" in page


def test_pictures_share_the_bytes_that_there_are():
    pictures = [
        Picture(
            picture().truth, picture().found, image=noise(480, 640, seed=n), maps=picture().maps
        )
        for n in range(6)
    ]
    small = render(Report("x", pictures=pictures, crops=full("x").crops), most=380_000)
    large = render(Report("x", pictures=pictures, crops=full("x").crops), most=1_200_000)
    assert len(small.encode()) < len(large.encode()) / 1.5
    assert len(small.encode()) < 380_000 and len(large.encode()) < 1_200_000
    assert [bool(one["src"]) for one in data_of(small)["pictures"]] == [True] * 6


def test_dense_pages_do_not_break_the_bound():
    words = tuple(Word(quad=box(5, 5), text="x" * 60) for _ in range(300))
    page = Page(120, 160, words, path="a.png")
    pictures = [Picture(page, page.with_words(()), image=noise())] * 12
    html = render(Report("x", pictures=pictures), most=700_000)
    assert len(html.encode()) < 700_000
    assert re.search(r"the \d+ with the highest cost of 12 are shown", html)


def test_thumbnails_and_maps():
    image = noise(400, 800)
    assert len(thumbnail(image, side=1280, most=20_000)) <= 20_000
    small = small_maps(np.full((400, 900, 2), np.nan, np.float32))
    assert small.shape == (71, 160, 2) and small.dtype == np.uint8 and not small.any()
    assert heat_map(small).startswith("data:image/webp;base64,")
    assert len(thumbnail(image, side=1280, most=0)) < 20_000  # the smallest there is


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.842, 0.898, [0.84, 0.86, 0.88, 0.9]), (5, 5, None)],
)
def test_ticks_are_round(low, high, wanted):
    found = ticks(low, high)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 8
    if wanted:
        assert found == wanted


def test_logarithmic_ticks():
    assert log_ticks(0.03, 0.4) == [0.02, 0.05, 0.1, 0.2, 0.5]
    assert log_ticks(1e-5, 10) == [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10]
    assert log_ticks(0.2, 0.2)[0] <= 0.2
    wide = log_ticks(3e-90, 2e90)
    assert wide[0] <= 3e-90 and wide[-1] >= 2e90 and len(wide) < 12


def test_charts_leave_out_what_is_not_finite():
    nan = Chart("a", (Series("s", ((0.0, float("nan")), (1.0, float("inf")))),))
    assert draw_chart(nan) == ""
    mixed = Chart("a", (Series("s", ((0.0, -1.0), (1.0, 2.0), (2.0, 3.0))),), logarithmic=True)
    assert draw_chart(mixed).count("<circle") == 2 and "nan" not in draw_chart(mixed)
    long = Series("s", tuple((float(n), float(n % 7)) for n in range(100_000)))
    assert len(draw_chart(Chart("a", (long,)))) < 20_000


def test_differences_and_confusions():
    assert differences("word", "w0rd!") == [["w"], ["o", "0"], ["rd"], ["", "!"]]
    found = confusions([("oo", "00"), ("to", "t0"), ("a", "a"), ("ab", "a")])
    assert [(one.truth, one.read, one.count) for one in found] == [("o", "0", 3), ("b", "", 1)]
    assert found[0].examples == (("oo", "00"), ("to", "t0"))


@pytest.fixture
def run(tmp_path):
    """A recognizer's folder, and one with what other weights read."""
    folder = tmp_path / "run"
    for place, read in (
        (folder, ("cat", "dog", "cow")),
        (folder / "evaluate-old", ("c", "d", "cow")),
    ):
        place.mkdir(parents=True)
        score = {"value": 0.5, "low": 0.4, "high": 0.6}
        sets = {"mine": {"accuracy": score, "unreadable": 1, "unreadable_named": ["z.png: bad"]}}
        (place / "recognition.json").write_text(json.dumps({"sets": sets, "weights": "w"}))
        rows = zip(("a.png", "b.png", "c.png"), ("cat", "dog", "cow"), read, strict=True)
        lines = ["\t".join((*row, "0.5")) for row in rows]
        text = "\n".join(["path\ttruth\tread\tconfidence", *lines]) + "\n"
        (place / "mine_readings.tsv").write_text(text)
    lines = [
        {"step": 0, "eval/accuracy": 0.1},
        {"step": 10, "loss": 2.0},
        {"step": 20, "loss": None},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines) + '{"st')
    (folder / "weights.pth").write_bytes(b"weights")
    return folder


def test_a_recognizers_folder(run):
    report = read_run(run)
    (score,) = report.scores
    assert report.columns == ("old", "this run") and score.before == score.after
    assert score.gain.value == pytest.approx(2 / 3)
    assert [chart.title for chart in report.charts] == ["Losses", "Scores in evaluations"]
    assert report.dropped[0].examples == ("z.png: bad",) and len(report.crops) == 3
    assert report.hashes == (("weights.pth", hashlib.sha256(b"weights").hexdigest()),)
    assert any("1 of 4 lines are not metrics" in note for note in report.notes)


def test_damaged_files_are_lines_of_the_report(run):
    (run / "recognition.json").write_text("{")
    (run / "sweep.json").write_text('{"points": [{"hmean": "high"}]}')
    (run / "result.json").write_text("[]")
    notes = "\n".join(read_run(run).notes)
    for name in ("recognition.json", "sweep.json", "result.json"):
        assert name in notes


def test_hostile_values_are_left_out(run):
    sets = {"mine": {"accuracy": {"value": "x"}, "unreadable": "many", "unreadable_named": 3}}
    (run / "recognition.json").write_text(json.dumps({"sets": sets | {"other": []}}))
    row = '{"step": 1e999, "loss": 1}\n{"step": 1, "loss": 1e308}\n{"step": 2, "loss": -1e308}\n'
    (run / "metrics.jsonl").write_text(row + '[1]\n{"step": 3, "loss": NaN}\n')
    (run / "mine_readings.tsv").write_text("head\n" + "x" * 200_000 + "\ta\tb\tnan\nshort\n\n")
    (run / "sweep.json").write_text('{"points": 3}')
    (run / "evaluate.json").write_text('{"best": {"protocol": "iou", "images": [{"pairs": 1}]}}')
    report = read_run(run)
    assert data_of(render(report))["crops"][0]["sure"] is None
    assert report.scores == () and report.dropped == ()
    assert sum("left out" in note for note in report.notes) >= 4


def test_a_detectors_folder(tmp_path):
    image = {"truth_care": 4, "found_care": 4, "recall_sum": 3, "precision_sum": 3, "pairs": []}
    best = {"protocol": "iou", "images": [image, image]}
    point = {"text_threshold": 0.7, "link_threshold": 0.4, "low_text": 0.4}
    point |= {"hmean": 0.75, "precision": 0.75, "recall": 0.75}
    (tmp_path / "evaluate.json").write_text(json.dumps({"best": best, "malformed": ["gt_1.txt:2"]}))
    (tmp_path / "sweep.json").write_text(json.dumps({"points": [point], "options": point}))
    write_image(tmp_path / "overlays" / "one.png", noise())
    result = {"hmean": 0.8, "precision": 0.9, "recall": 0.7, "interval": [0.7, 0.9]}
    (tmp_path / "result.json").write_text(json.dumps(result))
    report = read_run(tmp_path)
    assert report.scores[0].after == Interval(0.75, 0.75, 0.75)  # of evaluate.json
    (tmp_path / "end").mkdir()
    (tmp_path / "result.json").rename(tmp_path / "end" / "result.json")
    assert read_run(tmp_path / "end").scores[0].after == Interval(0.8, 0.7, 0.9)
    assert report.thresholds.used == report.thresholds.points[0]
    assert report.dropped[0].count == 1 and report.gallery[0][0] == "one"
    assert data_of(render(report))["gallery"][0]["src"]


def test_two_runs_beside_each_other(run, tmp_path):
    report = compared(("old", read_run(run / "evaluate-old")), ("new", read_run(run)))
    assert report.columns == ("old", "new") and report.title == "old and new"
    assert report.scores[0].gain.value == pytest.approx(2 / 3)


def options(runs, **changes):
    values = {"runs": list(map(str, runs)), "out": None, "pictures": 50, "force": False, **changes}
    return SimpleNamespace(**values)


def test_the_command(run, capsys):
    assert command.run(options([run])) == 0
    said = capsys.readouterr().out
    assert "metrics.jsonl" in said and f"written: {run}/report.html" in said
    with pytest.raises(OutputError, match="--force"):
        command.run(options([run]))
    assert command.run(options([run], force=True)) == 0
    both = run.parent / "both.html"
    assert command.run(options([run / "evaluate-old", run], out=both)) == 0
    assert "evaluate-old and run" in both.read_text(encoding="utf-8")


def test_a_fit_that_has_not_finished(tmp_path, capsys):
    (tmp_path / "stages").mkdir()
    record = {"result": {}, "said": "12 words to train on"}
    (tmp_path / "stages" / "audit.json").write_text(json.dumps(record))
    (tmp_path / "stages" / "split.begun.json").write_text("{}")
    assert command.run(options([tmp_path])) == 0
    assert "the fit has not finished" in capsys.readouterr().out
    assert "audit: 12 words to train on" in (tmp_path / "report.html").read_text("utf-8")
    (tmp_path / "stages" / "after.json").write_text(json.dumps(record))
    assert command.run(options([tmp_path], force=True)) == 0
    assert "missing, damaged or from another version" in capsys.readouterr().out


def test_what_the_command_refuses(tmp_path):
    with pytest.raises(ReportError, match="not a run directory: expected metrics"):
        command.run(options([tmp_path]))
    with pytest.raises(ReportError, match="no such folder"):
        command.run(options([tmp_path / "none"]))
    with pytest.raises(OutputError, match=r"ends in \.html"):
        command.run(options([tmp_path], out="page.txt"))
    with pytest.raises(ValueError, match="expected one, or two"):
        command.run(options([tmp_path] * 3))


def test_a_report_is_replaced_whole(tmp_path):
    path = write_report(tmp_path / "a.html", Report("first"))
    write_report(path, Report("second"))
    assert "second" in path.read_text(encoding="utf-8")
    assert [one.name for one in tmp_path.iterdir()] == ["a.html"]
