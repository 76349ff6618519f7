"""ONNX files: the same values as ours, the reader beside them, what is refused."""

from __future__ import annotations

import importlib.util
import json

import jax
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from craftjax.convert import to_state_dict as craft_state  # noqa: E402
from craftjax.detector import Detector  # noqa: E402
from craftjax.models import CRAFT  # noqa: E402
from craftjax.models import init_variables as craft_variables  # noqa: E402
from craftjax.options import (  # noqa: E402
    DetectorOptions,
    operating_point_path,
    save_operating_point,
)
from crnnjax.charset import Charset  # noqa: E402
from crnnjax.models import CRNN, init_variables  # noqa: E402
from crnnjax.options import RecognizerOptions  # noqa: E402
from crnnjax.recognizer import Recognizer  # noqa: E402
from ocrcore.images import write_image  # noqa: E402
from ocrcore.weights.pth import save_weights  # noqa: E402
from ocrjax.cli.main import _parse, _run  # noqa: E402
from ocrjax.onnx import check, read_onnx  # noqa: E402
from ocrjax.onnx.graph import OnnxError  # noqa: E402
from ocrjax.onnx.int8 import quantize  # noqa: E402
from ocrjax.onnx.models import (  # noqa: E402
    class_order,
    detector_model,
    rapidocr_model,
    recognizer_model,
)
from ocrjax.onnx.runtime import (  # noqa: E402
    load_detector,
    load_recognizer,
    open_session,
    with_onnxruntime,
)
from ocrjax.reader import Reader, choose_backend  # noqa: E402
from ocrjax.reader_options import ReaderOptions  # noqa: E402

CHARSET = Charset("own", tuple(" +-*\\]^'\"#0a~"))  # the space comes first, and goes last


def noisy(variables, seed=0):
    """Variables whose norms and biases are not the identity."""
    rng = np.random.default_rng(seed)

    def change(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return (leaf * rng.uniform(0.5, 1.5, leaf.shape)).astype(np.float32)
        if "bias" in name or name == "mean":
            return (leaf + rng.normal(0, 0.1, leaf.shape)).astype(np.float32)
        return leaf

    return jax.tree_util.tree_map_with_path(change, variables)


def network(seed=1, **options):
    model = CRNN(CHARSET.num_classes, **{"channels": 16, "hidden": 8, **options})
    variables = noisy(init_variables(model, seed=seed))
    variables["params"]["Prediction"]["kernel"] *= 8  # so that it reads several characters
    if model.features == "lcnetv4":  # residual sums would grow from block to block
        variables = jax.tree.map(lambda leaf: leaf * 0.8 if leaf.ndim > 1 else leaf, variables)
    return model, variables


@pytest.fixture(scope="module")
def vgg():
    return network()


@pytest.fixture(scope="module")
def file(vgg):
    model = recognizer_model(vgg[1], charset=CHARSET, height=32)
    return model.SerializeToString()


def crops(count=12, seed=0):
    """Smooth noise of several shapes: wide, tall and tiny ones."""
    rng = np.random.default_rng(seed)
    sizes = [(20, 36), (41, 90), (30, 14), (9, 3), (25, 70)]
    out = []
    for index in range(count):
        height, width = sizes[index % len(sizes)]
        small = rng.integers(0, 256, (4, 12, 3), np.uint8)
        out.append(read_onnx.cv2.resize(small, (width, height)))
    return out


@pytest.mark.parametrize(
    ("height", "options"),
    [
        (64, {"features": "vgg"}),
        (31, {"features": "vgg", "sequence": "none"}),
        (32, {"features": "vgg", "transform": "affine"}),
        (32, {"features": "resnet"}),
        (32, {"features": "rcnn"}),
        (48, {"features": "lcnetv4", "channels": 32, "hidden": 16, "sequence": "lightsvtr"}),
    ],
)
def test_every_recognizer_gives_the_same(height, options):
    model, variables = network(**options)
    rng = np.random.default_rng(3)
    for name in ("kernel", "bias") if model.transform == "affine" else ():
        leaf = variables["params"]["Transformation"][name]
        leaf += rng.normal(0, 0.1, leaf.shape).astype(np.float32)
    session = open_session(
        recognizer_model(variables, charset=CHARSET, height=height).SerializeToString()
    )
    images = rng.integers(0, 256, (3, height, 75, 1), np.uint8)
    widths = np.array([75, 20, 41], np.int32)  # padded ones, and one that is not
    ours = np.asarray(jax.jit(model.apply)(variables, images, widths))[..., class_order(CHARSET)]
    logits, steps = session.run(["logits", "steps"], {"images": images, "widths": widths})
    assert logits.shape == ours.shape and steps[0] == ours.shape[1] and steps[1] < steps[2]
    allowed = 2e-5 * max(1, np.abs(ours).max())
    if model.transform == "affine":
        allowed *= 10  # places between pixels are rounded otherwise
    for row, count in enumerate(steps):
        np.testing.assert_allclose(logits[row, :count], ours[row, :count], atol=allowed, rtol=0)
    assert ours[0].std() > 10 * allowed
    # A width that says too much means all columns.
    wide, _ = session.run(None, {"images": images, "widths": np.full(3, 500, np.int32)})
    full, _ = session.run(None, {"images": images, "widths": np.full(3, 75, np.int32)})
    assert np.array_equal(wide, full)


def test_a_detector_gives_the_same_at_any_size():
    size = (37, 65)
    model = CRAFT(width=0.125)
    variables = noisy(craft_variables(model))
    session = open_session(detector_model(variables, DetectorOptions()).SerializeToString())
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    (smallest,) = session.run(None, {"images": images[:, :16, :16]})
    assert smallest.shape == (2, 8, 8, 2)
    ours = np.asarray(jax.jit(model.apply)(variables, images)[0])
    (scores,) = session.run(None, {"images": images})
    assert scores.shape == (2, size[0] // 2, size[1] // 2, 2)
    np.testing.assert_allclose(scores, ours, atol=1e-5)
    assert ours.std() > 1e-3


def test_the_file_says_all(vgg, file):
    model = onnx.load_model_from_string(file)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert all(one.data_location == 0 for one in model.graph.initializer)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    facts = json.loads(metadata["ocrjax"])
    assert facts["height"] == 32 and facts["characters"] == "+-*\\]^'\"#0a~ "
    # RapidOCR puts the blank before these, and the space behind.
    assert metadata["character"].splitlines() == list("+-*\\]^'\"#0a~")
    assert "license" not in metadata
    published = network(
        features="lcnetv4", channels=32, hidden=16, sequence="lightsvtr", batch_norm=False
    )[1]
    model = recognizer_model(published, charset=CHARSET, height=48)
    assert "PP-OCRv6" in {entry.key: entry.value for entry in model.metadata_props}["license"]
    assert "PP-OCRv6" in model.doc_string
    for name, characters, made in (("two", "ab", 3), ("many", "abcdefghijklmnopqrstuvw", 24)):
        with pytest.raises(OnnxError, match=f"14 classes, but charset '{name}' makes {made}"):
            recognizer_model(vgg[1], charset=Charset(name, tuple(characters)), height=32)


def test_no_charset_with_line_ends_for_rapidocr():
    charset = Charset("lines", tuple("ab\u2028"))
    variables = init_variables(CRNN(4, channels=16, hidden=8))
    model = recognizer_model(variables, charset=charset, height=32)
    assert [entry.key for entry in model.metadata_props] == ["ocrjax"]
    with pytest.raises(OnnxError, match="has a line break"):
        rapidocr_model(variables, charset=charset, height=32)


def test_float16_halves_the_file_and_int8_quarters_it():
    _, variables = network(channels=64, hidden=32)
    whole = recognizer_model(variables, charset=CHARSET, height=32)
    half = recognizer_model(variables, charset=CHARSET, height=32, half=True)
    rng = np.random.default_rng(0)
    inputs = [
        {
            "images": rng.integers(0, 256, (1, 32, 64, 1), np.uint8),
            "widths": np.array([64], np.int32),
        }
        for _ in range(4)
    ]
    small = quantize(whole, inputs)
    sizes = [len(model.SerializeToString()) for model in (whole, half, small)]
    assert sizes[1] < 0.6 * sizes[0] and sizes[2] < 0.45 * sizes[0]
    assert {node.op_type for node in quantize(whole).graph.node} >= {"Conv", "DynamicQuantizeLSTM"}
    assert small.metadata_props == whole.metadata_props
    logits = [
        open_session(model.SerializeToString()).run(["logits"], inputs[0])[0]
        for model in (whole, half, small)
    ]
    spread = logits[0].std()
    assert 0 < np.abs(logits[1] - logits[0]).max() < 0.05 * spread
    assert 0 < np.abs(logits[2] - logits[0]).mean() < 0.3 * spread


@pytest.mark.parametrize("resize", ["bucket", "easyocr", "fixed"])
def test_the_reader_beside_a_file_reads_what_ours_reads(tmp_path, vgg, resize):
    options = RecognizerOptions(
        resize=resize, turn_above=0 if resize == "easyocr" else 1.5, contrast_threshold=0.9
    )
    model = recognizer_model(vgg[1], charset=CHARSET, height=32, options=options)
    path = tmp_path / "words.onnx"
    path.write_bytes(model.SerializeToString())
    ours = Recognizer(vgg[1], charset=CHARSET, height=32, options=options)
    expected = ours.recognize(crops())
    for found in (
        read_onnx.Recognizer(path).read(crops()),
        load_recognizer(path).recognize(crops()),
    ):
        assert [text for text, _ in found] == [one.text for one in expected]
        sure = [one.confidence for one in expected]
        np.testing.assert_allclose([one for _, one in found], sure, atol=1e-3)
    assert len({one.text for one in expected}) > 5
    placed = zip(
        load_recognizer(path).recognize_placed(crops()), ours.recognize_placed(crops()), strict=True
    )
    for one, two in placed:
        np.testing.assert_allclose(one.spans, two.spans, atol=1e-6)


def test_pillows_resizing_is_redone():
    from PIL import Image

    rng = np.random.default_rng(0)
    for size in ((40, 17), (9, 80), (32, 64), (60, 32)):
        gray = rng.integers(0, 256, size, np.uint8)
        wanted = Image.fromarray(gray).resize((33, 32), Image.Resampling.BICUBIC)
        apart = np.abs(read_onnx._bicubic(gray, 33, 32).astype(int) - np.asarray(wanted))
        assert apart.max() <= 1 and (apart > 0).mean() < 0.01


def maps(seed):
    """Blobs and links as a network might give them."""
    rng = np.random.default_rng(seed)
    out = []
    for size in ((24, 40), (16, 30)):
        noise = rng.random(size).astype(np.float32)
        out.append(read_onnx.cv2.GaussianBlur(read_onnx.cv2.resize(noise, (160, 96)), (0, 0), 1.5))
    return out


def test_the_reader_finds_the_same_boxes():
    from craftjax.boxes import find_boxes

    count = 0
    for seed in range(40):
        region, affinity = maps(seed)
        for thresholds in ((0.7, 0.6, 0.6), (0.65, 0.75, 0.45)):
            text, link, low = thresholds
            ours = find_boxes(
                region, affinity, text_threshold=text, link_threshold=link, low_text=low
            )
            found = read_onnx.find_boxes(region, affinity, *thresholds)
            assert len(found) == len(ours)
            for (quad, score), one, value in zip(found, ours.quads, ours.scores, strict=True):
                np.testing.assert_allclose(quad, one, atol=1e-3)
                assert score == pytest.approx(float(value))
            count += len(found)
    assert count > 500


@pytest.fixture(scope="module")
def craft():
    variables = noisy(craft_variables(CRAFT(width=0.125)), seed=2)
    # Scores about the thresholds, so that there are words.
    last = variables["params"]["conv_cls"]["conv8"]
    last["kernel"] = last["kernel"] * 10
    return variables


def photos():
    return [
        (str(seed), read_onnx.cv2.resize(crops(1, seed=seed)[0], (190, 130))) for seed in range(3)
    ]


def test_the_reader_detects_what_ours_detects(tmp_path, craft):
    options = DetectorOptions(
        text_threshold=0.1, low_text=0.05, link_threshold=0.1, canvas_size=128, pad="exact"
    )
    path = tmp_path / "street.onnx"
    path.write_bytes(detector_model(craft, options).SerializeToString())
    ours = Detector(craft, options=options)
    total = 0
    for _, photo in photos():
        page = ours.detect(photo)
        found = read_onnx.Detector(path).detect(photo)
        again = load_detector(path).detect(photo, pad="exact")
        assert len(found) == len(page.words) == len(again.words)
        total += len(found)
        for (quad, _), word, other in zip(found, page.words, again.words, strict=True):
            np.testing.assert_allclose(quad, word.quad, atol=0.1)
            np.testing.assert_allclose(other.quad, word.quad, atol=0.1)
    assert total >= 3


def test_a_reader_reads_the_same_in_onnx_runtime(tmp_path, craft, vgg, monkeypatch):
    path = tmp_path / "craft.safetensors"
    save_weights(path, craft_state(craft))
    options = DetectorOptions(
        text_threshold=0.1, low_text=0.05, link_threshold=0.1, canvas_size=128, pad="exact"
    )
    save_operating_point(operating_point_path(path), options, measured={})
    pages = {}
    for backend in ("jax", "onnx"):
        recognizer = Recognizer(vgg[1], charset=CHARSET, height=32)
        if backend == "onnx":  # of what is loaded already nothing else is made
            recognizer = with_onnxruntime(recognizer)
        reader = Reader(path, recognizer, options=ReaderOptions(0), backend=backend)
        assert reader.detector.options == options
        pages[backend] = reader.read([photo for _, photo in photos()])
    words = [[word for page in pages[name] for word in page.words] for name in pages]
    assert len(words[0]) == len(words[1]) >= 3
    for one, other in zip(*words, strict=True):
        assert one.text == other.text and abs(one.confidence - other.confidence) < 1e-3
        np.testing.assert_allclose(one.quad, other.quad, atol=0.1)
    assert choose_backend("auto") == "onnx"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_backend("auto") == "jax"
    with pytest.raises(ValueError, match="backend is 'torch', expected one of jax, onnx, auto"):
        choose_backend("torch")


def test_a_check_sees_other_weights(vgg, file):
    ours = Recognizer(vgg[1], charset=CHARSET, height=32)
    pairs = [(crop, "a0") for crop in crops(6)]
    good = check.check_recognizer({"float32": file}, ours, pairs)
    assert good.faults == () and good.rows[1].same == 6 and "same texts" in good.table()
    other = recognizer_model(network(seed=5)[1], charset=CHARSET, height=32).SerializeToString()
    bad = check.check_recognizer({"float32": other}, ours, pairs)
    assert "logits differ" in bad.faults[0] and "texts differ" in bad.faults[1]
    truthful = [
        (crop, reading.text)
        for crop, reading in zip(crops(6), ours.recognize(crops(6)), strict=True)
    ]
    bad = check.check_recognizer({"int8": other}, ours, truthful)
    assert "int8: word accuracy" in bad.faults[0]
    json.dumps(bad.to_dict())


def test_a_detectors_check_sees_other_weights(craft):
    options = DetectorOptions(text_threshold=0.1, low_text=0.05, link_threshold=0.1)
    ours = Detector(craft, options=options)
    model = detector_model(craft, options).SerializeToString()
    good = check.check_detector({"float32": model}, ours, photos())
    assert good.faults == () and good.rows[1].score == 1
    changed = jax.tree.map(np.array, craft)  # jax may share the memory of the first
    changed["params"]["conv_cls"]["conv8"]["bias"][:] -= 9  # no words
    other = detector_model(changed, options).SerializeToString()
    bad = check.check_detector({"float32": other, "int8": other}, ours, photos())
    assert "scores differ" in bad.faults[0] and "boxes differ" in bad.faults[1]
    assert "int8: the hmean of its boxes against ours is 0.0000" in bad.faults[2]


def run(*arguments):
    return _run(_parse(["ocrjax", "export", "onnx", *map(str, arguments)]))


@pytest.fixture
def weights(tmp_path, vgg):
    from crnnjax.convert import to_state_dict

    path = tmp_path / "words.pth"
    save_weights(path, to_state_dict(vgg[1]))
    CHARSET_FILE = tmp_path / "charset.json"
    CHARSET_FILE.write_text(json.dumps(CHARSET.to_dict()))
    (tmp_path / "config.json").write_text(json.dumps({"data": {"height": 32}, "recognizer": {}}))
    return path


@pytest.fixture
def labeled(tmp_path, vgg):
    folder = tmp_path / "crops"
    folder.mkdir()
    texts = Recognizer(vgg[1], charset=CHARSET, height=32).recognize(crops(6))
    lines = []
    for index, (crop, reading) in enumerate(zip(crops(6), texts, strict=True)):
        write_image(folder / f"{index}.png", crop)
        lines.append(f"{index}.png\t{reading.text or 'a'}")
    (folder / "labels.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_command(tmp_path, weights, labeled, capsys, monkeypatch):
    out = tmp_path / "out"
    arguments = (weights, "--out", out, "--check", "--crops", labeled / "labels.tsv")
    more = ("--precision", "float32", "float16", "--rapidocr")
    assert run(*arguments, *more) == 0
    said = capsys.readouterr().out
    assert "6 crops" in said and "float16" in said
    names = [
        "check.json",
        "read_onnx.py",
        "words.onnx",
        "words_float16.onnx",
        "words_rapidocr.onnx",
    ]
    assert sorted(path.name for path in out.iterdir()) == names
    spec = importlib.util.spec_from_file_location("read_beside", out / "read_onnx.py")
    beside = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(beside)
    assert len(beside.Recognizer(out / "words.onnx").read(crops(6))) == 6
    monkeypatch.setattr("sys.argv", ["read", str(labeled / "0.png"), "--recognizer"])
    monkeypatch.setattr("sys.argv", [*__import__("sys").argv, str(out / "words.onnx")])
    beside.main()
    assert "0.png '" in capsys.readouterr().out
    assert run(*arguments) == 2 and "already exists; --force replaces" in capsys.readouterr().err


def test_nothing_is_written_after_a_fault(tmp_path, weights, labeled, capsys, monkeypatch):
    monkeypatch.setattr(check, "_LOGITS", -1.0)
    monkeypatch.setattr(check, "_SHARE", -1.0)
    out = tmp_path / "out"
    assert run(weights, "--out", out, "--check", "--crops", labeled / "labels.tsv") == 1
    assert "NOT GOOD: float32: logits differ" in capsys.readouterr().out
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--install",), "--install has no effect with onnx"),
        (("--languages", "de"), "--languages has no effect with onnx"),
        (("--count", "3"), "--count has no effect without --check"),
        (("--calibrate", "."), "--calibrate has no effect without --precision int8"),
        (("--photos", ".", "--check"), "--photos has no effect"),
    ],
)
def test_arguments_without_effect_are_refused(tmp_path, weights, capsys, arguments, why):
    assert run(weights, "--out", tmp_path / "out", *arguments) == 2
    assert why in capsys.readouterr().err


def test_a_detector_on_the_command_line(tmp_path, craft, capsys):
    path = tmp_path / "street.pth"
    save_weights(path, craft_state(craft))
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, photo in photos():
        write_image(folder / f"{name}.png", photo)
    out = tmp_path / "out"
    assert run(path, "--out", out, "--precision", "int8") == 2
    assert "--calibrate PATH" in capsys.readouterr().err
    assert run(path, "--out", out, "--rapidocr") == 2
    assert "--rapidocr has no effect" in capsys.readouterr().err
    precision = ("--precision", "float32", "int8", "--calibrate", folder)
    assert run(path, "--out", out, *precision) == 0
    model = onnx.load(out / "street_int8.onnx")
    kinds = {node.op_type for node in model.graph.node}
    assert "QuantizeLinear" in kinds and "Conv" in kinds
    facts = json.loads(load_facts(model)["ocrjax"])
    assert facts["network"] == "detector" and facts["text_threshold"] == 0.7


def load_facts(model):
    return {entry.key: entry.value for entry in model.metadata_props}


def rapid_input(images, height=48):
    """RapidOCR's input of crops, RGB: BGR, 48 rows, padded with zeros to 320 columns or more."""
    widest = max(320 / 48, *(image.shape[1] / image.shape[0] for image in images))
    out = np.zeros((len(images), 3, height, int(height * widest)), np.float32)
    for row, image in enumerate(images):
        width = min(int(np.ceil(height * image.shape[1] / image.shape[0])), out.shape[3])
        resized = read_onnx.cv2.resize(image[:, :, ::-1], (width, height))
        out[row, :, :, :width] = (resized.transpose(2, 0, 1).astype("float32") / 255 - 0.5) / 0.5
    return out


@pytest.mark.parametrize(("resize", "height"), [("bucket", 48), ("easyocr", 48), ("bucket", 32)])
def test_the_file_for_rapidocr_sees_the_crop_alone(vgg, resize, height):
    options = RecognizerOptions(resize=resize)
    model = rapidocr_model(vgg[1], charset=CHARSET, height=height, options=options)
    session = open_session(model.SerializeToString())
    images = [image for image in crops(6) if image.shape[1] > 20]
    x = rapid_input(images)
    (probabilities,) = session.run(None, {"x": x})
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-4)
    plain = open_session(
        recognizer_model(vgg[1], charset=CHARSET, height=height).SerializeToString()
    )
    for row, image in enumerate(images):
        width = int(np.ceil(48 * image.shape[1] / image.shape[0]))
        gray = 0.299 * x[row, 2] + 0.587 * x[row, 1] + 0.114 * x[row, 0]
        gray = np.pad(gray[:, :width], ((0, 0), (0, gray.shape[1] - width)), mode="edge")
        if height != 48:
            continue  # the enlargement is the runtime's
        true = max(width, height)
        if resize == "easyocr":
            true = -(-true // height) * height
        inputs = {
            "images": np.clip(np.round((gray + 1) * 127.5), 0, 255).astype(np.uint8)[
                None, :, :, None
            ],
            "widths": np.array([true], np.int32),
        }
        logits, steps = plain.run(None, inputs)
        count = steps[0]
        shares = np.exp(logits[0, :count] - logits[0, :count].max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        assert np.abs(probabilities[row, :count] - shares).mean() < 0.02
        assert (probabilities[row, count:].argmax(-1) == 0).all()
    with_others = probabilities[0]
    (alone,) = session.run(None, {"x": x[:1]})
    np.testing.assert_allclose(with_others[: alone.shape[1]], alone[0], atol=1e-4)


def test_an_export_is_no_source_of_weights(tmp_path, file):
    from crnnjax.convert import ConversionError
    from ocrjax.weights import load_network

    path = tmp_path / "words.onnx"
    path.write_bytes(file)
    with pytest.raises(
        ConversionError, match="give the run or the weights that it was exported from"
    ):
        load_network(path)


def test_foreign_and_damaged_files_are_named(tmp_path, file, craft):
    path = tmp_path / "m.onnx"
    with pytest.raises(OnnxError, match="No such file"):
        load_detector(tmp_path / "absent.onnx")
    for content in (b"", b"\xff" * 64, file[: len(file) // 2]):
        path.write_bytes(content)
        with pytest.raises(OnnxError, match=r"m\.onnx: ONNX Runtime cannot load it"):
            load_recognizer(path)
    path.write_bytes(file)
    with pytest.raises(OnnxError, match="a recognizer of format 1, expected a detector"):
        load_detector(path)
    model = onnx.load_model_from_string(file)
    del model.metadata_props[:]
    with pytest.raises(OnnxError, match="not a model of ocrjax"):
        load_recognizer(model.SerializeToString())
    with pytest.raises(ValueError, match="has no metadata 'ocrjax'"):
        path.write_bytes(model.SerializeToString())
        read_onnx.Recognizer(path)
    for key, value in (("height", "x"), ("characters", None), ("resize", "none")):
        facts = json.loads(load_facts(onnx.load_model_from_string(file))["ocrjax"])
        onnx.helper.set_model_props(model, {"ocrjax": json.dumps({**facts, key: value})})
        with pytest.raises(OnnxError, match="metadata 'ocrjax'"):
            load_recognizer(model.SerializeToString())
