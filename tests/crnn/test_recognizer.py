"""The recognizer: a tiny network for what it does with crops, EasyOCR's own for what it reads."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnnjax.charset import named
from crnnjax.convert import to_state_dict
from crnnjax.decoding import text_log_probability
from crnnjax.evaluate import EvaluationError, evaluate_recognizer, read_set, results_folder
from crnnjax.lexicon import Lexicon, LexiconError
from crnnjax.models import CRNN, init_variables
from crnnjax.options import RecognizerError, RecognizerOptions
from crnnjax.recognizer import Reading, Recognizer, _split
from crnnjax.resize import (
    as_gray,
    bucket_width,
    easyocr_width,
    fixed_crop,
    level_crop,
    level_width,
    pad_crop,
    raise_contrast,
    read_gray,
    scale_crop,
)
from ocrcore.data.readers.crops import Crop, LmdbCrops
from ocrcore.images import ImageError, read_image, write_image
from ocrcore.weights.named import WeightsNotFoundError
from ocrcore.weights.pth import save_weights

ROOT = Path(__file__).parents[2]
HEIGHT = 32


def make_variables(seed=0, classes=37):
    model = CRNN(classes, channels=16, hidden=8)
    variables = init_variables(model, seed=seed)
    # Less blank than a random network gives, and letters that are sure of themselves.
    variables["params"]["Prediction"]["kernel"] *= 8
    return variables


def crop(height, width, seed=0):
    """Blobs: noise that scaling does not flatten."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (max(2, height // 4), max(2, width // 4), 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer(make_variables(), charset=named("en36"), height=HEIGHT)


@pytest.fixture(scope="module")
def crops():
    sizes = [(20, 60), (32, 90), (40, 55), (10, 44), (64, 20), (32, 64), (30, 85), (25, 30)]
    return [crop(*size, seed=index) for index, size in enumerate(sizes)]


sides = st.integers(1, 300)


@given(sides, sides, st.sampled_from([32, 64]))
def test_sizes_are_known_beforehand(height, width, high):
    gray = np.zeros((height, width), np.uint8)
    scaled = scale_crop(gray, high)
    assert min(scaled.shape) == high
    level = level_crop(scaled, high)
    assert level.shape == (high, level_width(height, width, high))
    room = easyocr_width(height, width, high)
    assert room % high == 0 and level.shape[1] <= room
    bucket = bucket_width(level.shape[1], high)
    assert level.shape[1] <= bucket <= max(high, 1.5 * level.shape[1])
    assert math.log2(bucket / high) % 1 == 0 or math.log2(bucket / high / 1.5) % 1 == 0


def test_gray_takes_what_a_crop_may_be():
    color = crop(8, 12)
    gray = as_gray(color)
    assert gray.shape == (8, 12)
    expected = color @ np.array([0.299, 0.587, 0.114])
    assert np.abs(gray - expected).max() <= 0.51
    assert as_gray(gray) is gray
    assert (as_gray(gray[:, :, None]) == gray).all()
    for bad in (color.astype(np.float32), color[:, :, :2], color[:0], color[0, 0]):
        with pytest.raises(ValueError, match=r"a crop with|a crop of"):
            as_gray(bad)


def test_the_last_column_is_repeated():
    gray = as_gray(crop(8, 12))
    padded = pad_crop(gray, 20)
    assert (padded[:, :12] == gray).all()
    assert (padded[:, 12:] == gray[:, -1:]).all()


def test_contrast_is_raised_as_its_formula_says():
    gray = (as_gray(crop(20, 40)) // 8 + 100).astype(np.uint8)
    low, high = np.percentile(gray, 10), np.percentile(gray, 90)
    assert (high - low) / (high + low) < 0.3
    stretched = raise_contrast(gray, 0.5)
    expected = np.clip((gray.astype(float) - low + 25) * 200 / (high - low), 0, 255).astype(int)
    assert np.abs(stretched.astype(int) - expected).max() == 0
    assert raise_contrast(gray, 0.05) is gray
    flat = np.full((4, 4), 7, np.uint8)  # nothing to divide by
    assert (raise_contrast(flat, 0.5) == 255).all()


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_bytes(b"no picture")
    (tmp_path / "huge.pgm").write_bytes(b"P5\n131072 131072\n255\n")
    for name, message in (
        ("none.png", "No such file"),
        ("empty.png", "the file is empty"),
        ("text.png", "not a"),
        ("huge.pgm", r"huge\.pgm: 131072x131072 pixels by its header"),
    ):
        with pytest.raises(ImageError, match=message):
            read_gray(tmp_path / name)


@pytest.mark.parametrize("resize", ["bucket", "easyocr", "fixed"])
def test_what_is_read_does_not_depend_on_the_others(recognizer, crops, resize):
    together = recognizer.recognize(crops, resize=resize, batch_size=4)
    backwards = recognizer.recognize(crops[::-1], resize=resize, batch_size=4)[::-1]
    alone = [recognizer.recognize(crop, resize=resize, batch_size=4) for crop in crops]
    for one, two, three in zip(together, backwards, alone, strict=True):
        assert one.text == two.text == three.text
        assert one.confidence == pytest.approx(three.confidence, rel=1e-3)
    assert len({reading.text for reading in together}) > 2
    assert recognizer.recognize([], resize=resize) == []


def test_logits_are_the_networks(recognizer, crops):
    apply = jax.jit(CRNN(37, channels=16, hidden=8).apply)
    (padded,) = recognizer.logits(crops[:1], resize="bucket", batch_size=1)
    own = level_crop(scale_crop(as_gray(crops[0]), HEIGHT), HEIGHT)
    image = pad_crop(own, bucket_width(own.shape[1], HEIGHT))[None, :, :, None]
    steps = own.shape[1] // 4 - 1
    expected = apply(make_variables(), image, np.array([own.shape[1]]))[0, :steps]
    assert padded.shape == (steps, 37)
    np.testing.assert_allclose(padded, expected, atol=1e-4)
    (fixed,) = recognizer.logits(crops[:1], resize="fixed", width=100, batch_size=1)
    expected = apply(
        make_variables(), fixed_crop(as_gray(crops[0]), HEIGHT, 100)[None, :, :, None]
    )[0]
    assert fixed.shape == (24, 37)
    np.testing.assert_allclose(fixed, expected, atol=1e-4)


def test_a_hair_thin_crop_does_not_fill_the_memory(recognizer):
    (job,) = recognizer._jobs([crop(2, 20000)], recognizer.options)
    assert (job.true, job.width) == (8192, 8192)
    assert job.make().shape == (HEIGHT, 8192)


@pytest.mark.parametrize("resize", ["bucket", "easyocr", "fixed"])
def test_tall_crops_are_turned_on_request_but_not_as_easyocr(recognizer, resize):
    lying = crop(32, 90)
    upright = np.rot90(lying, -1)
    wanted = recognizer.recognize(upright if resize == "easyocr" else lying, resize=resize)
    found = recognizer.recognize([upright, lying], resize=resize, turn_above=1.5)
    assert found[0].text == wanted.text
    assert recognizer.recognize(lying, resize=resize).text != (
        recognizer.recognize(upright, resize=resize).text
    )


def test_few_programs_for_many_widths():
    recognizer = Recognizer(make_variables(), charset=named("en36"), height=HEIGHT)
    widths = range(20, 190, 3)
    recognizer.recognize([crop(32, width) for width in widths], batch_size=4)
    # 32, 48, 64, 96, 128 and 192 wide, in batches of 4 and of what is left over, 1.
    assert recognizer.programs <= 12


@given(st.integers(0, 500), st.integers(1, 300))
def test_batches_have_few_sizes_and_few_empty_rows(count, size):
    parts = list(_split(count, size))
    assert sum(taken for taken, _ in parts) == count
    assert all(0 < taken <= rows <= size for taken, rows in parts)
    assert len({rows for _, rows in parts}) <= 3
    assert all(4 * taken >= 3 * rows for taken, rows in parts[:-1])
    assert sum(rows for _, rows in parts) <= max(count * 4 / 3, count + -(-size // 16))


def test_an_allowlist_and_a_blocklist(recognizer, crops):
    free = {c for reading in recognizer.recognize(crops) for c in reading.text}
    some = "".join(sorted(free)[::2])
    allowed = {c for reading in recognizer.recognize(crops, allowlist=some) for c in reading.text}
    assert allowed and allowed <= set(some)
    blocked = {c for reading in recognizer.recognize(crops, blocklist=some) for c in reading.text}
    assert blocked and not blocked & set(some)
    with pytest.raises(ValueError, match="nothing could be read"):
        recognizer.recognize(crops, allowlist="é")


def test_beam_and_lexicon(recognizer, crops):
    charset = recognizer.charset
    words = [item.text for item in recognizer.recognize(crops) if item.text] + ["zebra"]
    lexicon = Lexicon.from_words(words, charset.characters)
    beams = recognizer.recognize(crops, decoder="beam", beam_width=50)
    matches = recognizer.recognize(crops, decoder="lexicon", lexicon=lexicon)
    for beam, match, logits in zip(beams, matches, recognizer.logits(crops), strict=True):
        logs = np.asarray(jax.nn.log_softmax(logits))

        def probability(text, logs=logs):
            return math.exp(text_log_probability(logs, charset.encode(text)))

        assert beam.confidence == pytest.approx(probability(beam.text), rel=1e-3)
        assert match.text == max(words, key=probability)
        assert match.confidence == pytest.approx(probability(match.text), rel=1e-3)
    assert any(beam.text for beam in beams)
    long = Lexicon.from_words(["a" * 100], charset.characters)
    assert recognizer.recognize(crops[:1], decoder="lexicon", lexicon=long) == [Reading("", 0.0)]


@pytest.mark.parametrize("resize", ["bucket", "easyocr", "fixed"])
@pytest.mark.parametrize("decoder", ["greedy", "beam"])
def test_characters_are_placed_within_the_crop(recognizer, crops, resize, decoder):
    placed = recognizer.recognize_placed(crops, resize=resize, decoder=decoder)
    readings = recognizer.recognize(crops, resize=resize, decoder=decoder)
    assert [one.reading for one in placed] == readings
    for (text, _), spans, sure, degrees in placed:
        assert spans.shape == (len(text), 2) and sure.shape == (len(text),) and degrees == 0
        assert (spans >= 0).all() and (spans <= 1).all() and (np.diff(spans) >= 0).all()
        assert (spans[1:, 0] == spans[:-1, 1]).all()
        assert (sure > 0).all() and (sure <= 1).all()
    assert sum(len(one.reading.text) for one in placed) > 10


def test_where_characters_cannot_be_placed(recognizer):
    variables = init_variables(CRNN(37, channels=16, hidden=8, transform="affine"))
    affine = Recognizer(variables, charset=named("en36"), height=HEIGHT)
    (placed,) = affine.recognize_placed([crop(32, 90)])
    assert placed.spans is None and placed.confidences is None
    upright = np.rot90(crop(32, 90), -1)
    (placed,) = recognizer.recognize_placed([upright], resize="bucket", turn_above=1.5)
    (lying,) = recognizer.recognize_placed([crop(32, 90)], resize="bucket")
    assert placed.degrees == 270 and placed.reading == lying.reading
    np.testing.assert_array_equal(placed.spans, lying.spans)


def test_a_lexicon_may_be_a_file(recognizer, crops, tmp_path, caplog):
    file = tmp_path / "words.txt"
    words = [item.text for item in recognizer.recognize(crops[:2])]
    assert all(words)
    # As people write them: capitals, a mark of the editor, other line ends, a word in Greek.
    file.write_bytes(("\ufeff" + "\r\n ".join([*map(str.upper, words), "", "λόγος"])).encode())
    options = RecognizerOptions(decoder="lexicon", lexicon=str(file))
    variables = make_variables()
    reader = Recognizer(variables, charset=named("en36"), height=HEIGHT, options=options)
    found = [item.text for item in reader.recognize(crops[:3])]
    assert found[:2] == words and found[2] in words
    (line,) = caplog.messages
    assert "words.txt: 1 of 3 words have characters outside the charset" in line
    given = recognizer.recognize(crops[:2], decoder="lexicon", lexicon=file)
    assert given == reader.recognize(crops[:2])
    assert len(caplog.messages) == 1  # it was read once
    file.write_text("zebra\n")  # a changed one is read again
    assert recognizer.recognize(crops[:1], decoder="lexicon", lexicon=file)[0].text == "zebra"
    for content, message in (
        (b"\xff", "not UTF-8"),
        ("λόγος".encode(), "none of the 1 words"),
        (b"\n", "none of the 0 words"),
    ):
        file.write_bytes(content)
        with pytest.raises(LexiconError, match=rf"lexicon .*words\.txt: .*{message}"):
            Recognizer(variables, charset=named("en36"), height=HEIGHT, options=options)
    with pytest.raises(LexiconError, match=r"lexicon gone\.txt: No such file"):
        recognizer.recognize(crops[:1], decoder="lexicon", lexicon="gone.txt")


def test_dull_crops_are_looked_at_twice(recognizer):
    # Of the network's height, so that scaling changes nothing; with little contrast.
    dull = [(as_gray(crop(32, 64, seed=seed)) // 8 + 100).astype(np.uint8) for seed in range(6)]
    clear = [raise_contrast(gray, 0.5) for gray in dull]
    options = {"resize": "easyocr", "contrast_threshold": 0.0}
    first, second = (recognizer.recognize(part, **options) for part in (dull, clear))
    both = recognizer.recognize(dull, resize="easyocr", contrast_threshold=1.1)
    for one, two, found in zip(first, second, both, strict=True):
        best = one if one.confidence > two.confidence else two
        assert found.text == best.text
        assert found.confidence == pytest.approx(best.confidence, rel=1e-3)
    assert [f.text for f in both] != [f.text for f in first]


def test_options_that_do_not_go_together(recognizer):
    for values, message in (
        ({"resize": "stretch"}, "resize is 'stretch', expected one of bucket, easyocr, fixed"),
        ({"decoder": "viterbi"}, "decoder is 'viterbi'"),
        ({"confidence": "mean"}, "confidence is 'mean'"),
        ({"decoder": "lexicon"}, "need each other"),
        ({"width": 4}, "width is 4"),
        ({"turn_above": 0.9}, "turn_above is 0.9"),
        ({"batch_size": 0}, "batch_size is 0"),
    ):
        with pytest.raises(RecognizerError, match=message):
            RecognizerOptions(**values)
    with pytest.raises(RecognizerError, match=r"37 classes, but charset 'en94' makes 95"):
        Recognizer(make_variables(), charset=named("en94"), height=HEIGHT)
    with pytest.raises(RecognizerError, match="expected those of"):
        recognizer.with_variables(make_variables(classes=40))


def test_other_weights_share_the_programs(recognizer, crops):
    before = [reading.text for reading in recognizer.recognize(crops)]
    programs = recognizer.programs
    other = recognizer.with_variables(make_variables(seed=1))
    assert [reading.text for reading in other.recognize(crops)] != before
    assert [reading.text for reading in recognizer.recognize(crops)] == before
    assert other.programs == programs


def test_weights_are_found_with_what_belongs_to_them(recognizer, crops, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    save_weights(run / "weights.pth", to_state_dict(make_variables()))
    with pytest.raises(RecognizerError, match="the charset of these weights is not known"):
        Recognizer.from_weights(run / "weights.pth")
    with pytest.raises(RecognizerError, match="the height of these weights is not known"):
        Recognizer.from_weights(run / "weights.pth", charset="en36")
    expected = recognizer.recognize(crops[:2])
    explicit = Recognizer.from_weights(run / "weights.pth", charset="en36", height=HEIGHT)
    assert explicit.recognize(crops[:2]) == expected
    named("en36").save(run / "charset.json")
    config = {"data": {"height": HEIGHT}, "recognizer": {"resize": "fixed", "width": 80}}
    (run / "config.json").write_text(json.dumps(config))
    left = Recognizer.from_weights(run / "weights.pth")
    assert (left.height, left.options.resize, left.options.width) == (HEIGHT, "fixed", 80)
    assert left.recognize(crops[:2], resize="bucket") == expected
    (run / "config.json").write_text('{"data": {"height": 32}, "recognizer": {"size": 1}}')
    with pytest.raises(RecognizerError, match=r"config\.json: not the config of a recognizer"):
        Recognizer.from_weights(run / "weights.pth")
    with pytest.raises(WeightsNotFoundError):
        Recognizer.from_weights("english_g3")


@pytest.fixture(scope="module")
def labeled(recognizer, crops, tmp_path_factory):
    """Crops in files, labeled with what the network reads, but for some."""
    folder = tmp_path_factory.mktemp("crops")
    out = []
    for index, (image, reading) in enumerate(zip(crops, recognizer.recognize(crops), strict=True)):
        write_image(folder / f"{index}.png", image)
        out.append(Crop(str(folder / f"{index}.png"), reading.text.upper()))
    out[1] = Crop(out[1].name, "é" + out[1].text)
    out.insert(3, Crop(str(folder / "lost.png"), "lost"))
    return out


def test_spaces_are_judged_where_the_charset_has_one(recognizer, labeled, monkeypatch):
    texts = ["a line", "twowords", "word", "o ne"]
    true = ["a line", "two words", "word", "one"]
    crops = [Crop(labeled[0].name, text) for text in true]
    lines = []
    spaced = Recognizer(make_variables(classes=96), charset=named("en95"), height=HEIGHT)
    readings = [Reading(text, 1.0) for text in texts]
    monkeypatch.setattr(Recognizer, "recognize", lambda *arguments, **options: readings)
    report = evaluate_recognizer(spaced, {"all": crops, "b": crops}, log=lines.append)
    spaces = report["sets"]["all"]["spaces"]
    assert (spaces["found"], spaces["missed"], spaces["invented"]) == (1, 1, 1)
    assert spaces["space_error_rate"]["value"] == pytest.approx(2 / 3)
    assert report["all"]["spaces"]["missed"] == 2
    assert sum("1 of 2 spaces missed, 1 invented" in line for line in lines) == 2
    report = evaluate_recognizer(recognizer, {"a": crops}, log=lines.append)
    assert "spaces" not in report["sets"]["a"] and "spaces" not in report["all"]


def test_evaluation(recognizer, labeled, tmp_path):
    lines = []
    report = evaluate_recognizer(
        recognizer, {"a/b": labeled, "c": labeled[:1]}, folder=tmp_path, log=lines.append
    )
    one = report["sets"]["a/b"]
    assert (one["count"], one["unreadable"], one["outside_charset"]) == (8, 1, 1)
    # en36 knows no case: the labels' capitals are no errors.
    assert one["accuracy"]["value"] == pytest.approx(7 / 8)
    assert one["alnum_accuracy"]["value"] == 1
    assert report["all"]["count"] == 9
    assert report["digest"] == recognizer.charset.digest
    assert any("lost.png" in line for line in lines)
    assert any("1 labels have characters outside" in line for line in lines)
    assert json.loads((tmp_path / "recognition.json").read_text("utf-8")) == report
    rows = (tmp_path / "a_b_readings.tsv").read_text("utf-8").splitlines()
    assert len(rows) == 9 and rows[1].split("\t")[1] == labeled[0].text
    worst = read_image(tmp_path / "a_b_worst.png")
    assert (worst < 128).any()
    assert not (tmp_path / "c_worst.png").exists()  # all right


def test_a_bad_record_of_a_database_counts_as_unreadable(recognizer, labeled, tmp_path):
    lmdb = pytest.importorskip("lmdb")
    data = Path(labeled[0].name).read_bytes()
    with lmdb.open(str(tmp_path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"num-samples", b"3")
        for number, label in enumerate((labeled[0].text.encode(), b"\xff"), 1):
            transaction.put(b"image-%09d" % number, data)
            transaction.put(b"label-%09d" % number, label)
    result = read_set(recognizer, LmdbCrops(tmp_path))
    assert result.scores.accuracy().value == len(result.crops) == 1
    utf8, lost = result.unreadable
    assert "label-000000002" in utf8 and "UTF-8" in utf8 and "no image-000000003" in lost


def test_results_of_other_weights_replace_none_of_the_runs(tmp_path):
    names = ("english_g2", "exp/a/weights.pth", "exp/b/weights.pth", "../exp/a", "/exp/a", "..")
    folders = [results_folder(tmp_path, name) for name in names]
    assert folders[0] == tmp_path / "evaluate-english_g2"
    assert folders[1].name == "evaluate-exp_a_weights.pth" != folders[2].name
    assert {folder.parent for folder in folders} == {tmp_path}
    assert results_folder(tmp_path, None) == tmp_path


def test_nothing_to_evaluate(recognizer, tmp_path):
    with pytest.raises(EvaluationError, match="no labeled crops"):
        evaluate_recognizer(recognizer, {})
    with pytest.raises(EvaluationError, match="mine: nothing to evaluate: 0 of 0"):
        read_set(recognizer, [], name="mine")
    with pytest.raises(EvaluationError, match=r"1 of 1 crops cannot be read, the first: .*lost"):
        read_set(recognizer, [Crop(str(tmp_path / "lost.png"), "x")])


# Places in docs/example.jpg, whether turned on their side, and what EasyOCR 1.7.2 reads there with
# english_g2 (`Reader(["en"], quantize=False).recognize(gray)`): text and confidence. It looks twice
# at "Withun" and at the turned line.
EXAMPLE = (
    ((175, 182, 232, 224), False, "IDEA", 0.98746),
    ((158, 280, 248, 338), False, "54,95 €", 0.82229),
    ((784, 104, 842, 136), False, "Withun", 0.36438),
    ((290, 440, 495, 550), True, "4", 0.41937),
    ((314, 18, 374, 46), True, "6", 0.32086),
    ((175, 182, 232, 224), True, "=", 0.23922),
)


def test_reads_what_easyocr_reads():
    try:
        recognizer = Recognizer.from_weights("english_g2")
    except WeightsNotFoundError:
        pytest.skip("the weights extra is not installed")
    page = as_gray(read_image(ROOT / "docs" / "example.jpg"))
    cut = [page[top:bottom, left:right] for (left, top, right, bottom), *_ in EXAMPLE]
    turned = [
        np.ascontiguousarray(image.T) if turn else image
        for image, (_, turn, *_) in zip(cut, EXAMPLE, strict=True)
    ]
    assert {easyocr_width(*image.shape, 64) for image in turned} <= {128, 192}
    readings = recognizer.recognize(turned, batch_size=4)
    assert [reading.text for reading in readings] == [text for *_, text, _ in EXAMPLE]
    np.testing.assert_allclose(
        [reading.confidence for reading in readings], [sure for *_, sure in EXAMPLE], atol=0.01
    )
