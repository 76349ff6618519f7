from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import weakref
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from PIL import Image

from craftjax.convert import to_state_dict
from craftjax.detector import Detector, Scores, find_words
from craftjax.evaluate import (
    EvaluationError,
    ScoreCache,
    evaluate_detector,
    read_truth,
    score_pages,
    sweep,
)
from craftjax.models import CRAFT, init_variables
from craftjax.options import (
    DetectorOptions,
    OperatingPointError,
    load_operating_point,
    operating_point_path,
    save_operating_point,
)
from craftjax.resize import Fit
from craftjax.tiles import plan_tiles
from ocrcore.data.readers.icdar import write_icdar
from ocrcore.images import ImageError, read_image, write_image
from ocrcore.pages import Page, Sample, Word, read_pages
from ocrcore.weights.pth import save_weights


@cache
def tiny() -> Detector:
    """A narrow network with random weights whose scores are shifted so that it finds things."""
    variables = init_variables(CRAFT(width=0.125), seed=1)
    head = variables["params"]["conv_cls"]["conv8"]
    head["bias"] += np.array([0.35, 0.1], np.float32)
    head["kernel"] *= 40
    return Detector(variables, options=DetectorOptions(text_threshold=0.5, canvas_size=256))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    image = np.full((96, 160, 3), 230, np.uint8)
    cv2.putText(image, "ocrjax", (8, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (20, 20, 60), 3)
    return image


def test_finds_the_same_in_every_kind_of_input(tmp_path, picture):
    detector = tiny()
    write_image(tmp_path / "a.png", picture)
    inputs = [picture, Image.fromarray(picture), tmp_path / "a.png", str(tmp_path / "a.png")]
    pages = detector.detect(inputs)
    assert len(pages[0].words) > 0
    for page, path in zip(pages, [None, None, *[str(tmp_path / "a.png")] * 2], strict=True):
        assert (page.height, page.width, page.path) == (96, 160, path)
        assert page.words == pages[0].words
    assert detector.detect(picture) == pages[0]
    assert detector.detect(tmp_path / "a.png") == pages[2]
    assert all(word.score >= 0.5 and word.text is None for word in pages[0].words)


def test_scores_are_the_networks(picture):
    detector = tiny()
    ((index, scores),) = detector.score([picture])
    assert index == 0
    assert scores.maps.shape == (48, 80, 2)
    apply = jax.jit(CRAFT(width=0.125).apply)
    expected, _ = apply(detector._variables, picture[None])
    np.testing.assert_allclose(scores.maps, expected[0], atol=1e-5)


def test_other_weights_share_the_programs(picture):
    detector = tiny()
    ((_, before),) = detector.score([picture])
    compiled = detector._program.cache_info().misses
    fingerprint = detector.fingerprint
    variables = init_variables(CRAFT(width=0.125), seed=5)
    other = detector.with_variables(variables)
    ((_, scores),) = other.score([picture])
    ((_, fresh),) = Detector(variables, options=detector.options).score([picture])
    np.testing.assert_allclose(scores.maps, fresh.maps, atol=1e-6)
    assert detector._program.cache_info().misses == compiled
    assert other.fingerprint != fingerprint == detector.fingerprint
    ((_, again),) = detector.score([picture])
    np.testing.assert_array_equal(again.maps, before.maps)
    with pytest.raises(ValueError, match=r"variables of .*0.25}, expected .*0.125}"):
        detector.with_variables(init_variables(CRAFT(width=0.25)))


def test_border_keep_or_crop():
    maps = np.zeros((32, 48, 2), np.float32)
    maps[20:28, 30:46, 0] = 0.9
    scores = Scores(maps, Fit(1.0, 48, 80), 48, 80)
    keep = find_words(scores, DetectorOptions())
    crop = find_words(scores, DetectorOptions(border="crop"))
    assert (keep[0].quad.max(0) >= [90, 54]).all()
    assert crop[0].quad.max(0).tolist() == [78, 46]


def test_batches_do_not_change_scores(picture):
    detector = tiny()
    images = [picture, picture[:, ::-1].copy(), picture[::-1].copy()]
    one = dict(detector.score(images, options=DetectorOptions(canvas_size=256, batch_size=1)))
    many = dict(detector.score(images, options=DetectorOptions(canvas_size=256, batch_size=2)))
    for index in range(3):
        np.testing.assert_allclose(one[index].maps, many[index].maps, atol=2e-5)


def test_tiles_equal_one_pass():
    detector = tiny()
    image = np.random.default_rng(0).integers(0, 256, (1024, 64, 3), np.uint8)
    options = DetectorOptions(canvas_size=1024, pad="exact")
    ((_, whole),) = detector.score([image], options=options)
    tiled = DetectorOptions(canvas_size=1024, pad="exact", max_area=768 * 64)
    ((_, parts),) = detector.score([image], options=tiled)
    np.testing.assert_allclose(parts.maps, whole.maps, atol=2e-5)


def test_a_page_over_the_canvas_is_shrunk_or_tiled():
    detector = tiny()
    image = np.full((64, 700, 3), 200, np.uint8)
    ((_, small),) = detector.score([image], options=DetectorOptions(canvas_size=256))
    assert small.fit.ratio == pytest.approx(256 / 700)
    options = DetectorOptions(canvas_size=256, tile=True, max_area=64 * 416, tile_margin=64)
    ((_, full),) = detector.score([image], options=options)
    assert full.fit.ratio == 1
    assert full.maps.shape == (32, 352, 2)


def test_a_mixed_folder_needs_few_programs():
    detector = Detector(init_variables(CRAFT(width=0.125)))
    rng = np.random.default_rng(0)
    sizes = [(32 * h, 32 * w) for h, w in rng.integers(1, 6, (40, 2))]
    images = [np.zeros((*size, 3), np.uint8) for size in sizes]
    planned = set(detector._plan(sizes, detector.options))
    assert len(set(sizes)) > 12 >= len(planned)
    assert len(detector.detect(images[:3], pad="bucketed")) == 3
    assert detector.programs <= 3


def test_programs_of_ever_new_shapes_are_dropped(monkeypatch):
    monkeypatch.setattr("craftjax.detector._MAX_KEPT", 2)
    detector = Detector(init_variables(CRAFT(width=0.125)), options=DetectorOptions(pad="exact"))
    sizes = [(32, 32), (32, 64), (64, 32)]
    detector.detect(np.zeros((*sizes[0], 3), np.uint8))
    first = weakref.ref(detector._program((1, *sizes[0], 3)))
    assert first() is not None and first()._cache_size() == 1
    detector.detect([np.zeros((*size, 3), np.uint8) for size in sizes])
    gc.collect()
    assert first() is None
    assert detector._program.cache_info().currsize == 2 and detector.programs == 3


def test_large_pages_of_many_sizes_need_few_programs_too():
    """Tiles have the sizes that the inputs give them."""
    detector = Detector(init_variables(CRAFT(width=0.125)))
    options = replace(detector.options, max_area=640 * 640, tile_margin=64)
    rng = np.random.default_rng(0)
    sizes = [(32 * int(h), 32 * int(w)) for h, w in rng.integers(24, 48, (60, 2))]
    planned = set(detector._plan(sizes, options))
    tiles = {plan_tiles(s, max_area=options.max_area, margin=64).shape for s in planned}
    assert len(tiles) <= 12 < len(set(sizes))
    assert len(planned | set(detector._plan(sizes[::-1], options))) <= 12


def test_bad_files_are_reported_and_skipped(tmp_path, picture):
    write_image(tmp_path / "good.png", picture)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    data = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    paths = [tmp_path / name for name in ("bad.png", "good.png", "cut.png", "none.png")]
    found = {detection.index: detection for detection in tiny().stream(paths)}
    assert sorted(found) == [0, 1, 2, 3]
    assert found[1].error is None
    assert found[1].page is not None
    for index, name in ((0, "bad.png"), (3, "none.png")):
        assert found[index].page is None
        assert name in str(found[index].error)
    with pytest.raises(ImageError, match=r"bad\.png"):
        tiny().detect(paths)


@pytest.mark.parametrize(
    "options",
    [{"border": "cut"}, {"pad": "none"}, {"canvas_size": 0}, {"batch_size": 0}, {"mag_ratio": -1}],
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DetectorOptions(**options)


def test_weights_from_every_kind_of_file(tmp_path, picture):
    from ocrcore.training.checkpoints import save_variables

    variables = init_variables(CRAFT(width=0.125), seed=2)
    state = to_state_dict(variables)
    save_weights(tmp_path / "a.pth", state)
    save_weights(tmp_path / "a.safetensors", state)
    save_variables(tmp_path / "a", variables)
    prints = set()
    for name in ("a.pth", "a.safetensors", "a"):
        prints.add(Detector.from_weights(tmp_path / name).fingerprint)
    assert len(prints) == 1


@pytest.fixture
def labeled(tmp_path, picture) -> list[Page]:
    """Two pictures labeled with what the tiny detector finds, and a word that it does not."""
    pages = []
    for index in range(2):
        path = tmp_path / "images" / f"img_{index}.png"
        write_image(path, picture if index else np.ascontiguousarray(picture[:, ::-1]))
        page = tiny().detect(path)
        words = [Word(word.quad, text="a") for word in page.words]
        words.append(Word(np.float32([[1, 1], [5, 1], [5, 3], [1, 3]]), text="missed"))
        pages.append(page.with_words(words))
        write_icdar(tmp_path / "gt" / f"gt_img_{index}.txt", pages[-1])
    return pages


def test_evaluation_and_sweep(tmp_path, labeled):
    detector, options = tiny(), tiny().options
    cache = ScoreCache(tmp_path / "scores", fingerprint="x", options=options)
    point = evaluate_detector(detector, labeled, options=options, cache=cache)
    words = sum(len(page.words) for page in labeled)
    assert point.evaluation.precision == 1
    assert point.evaluation.recall == (words - 2) / words

    class Deaf:
        """Has nothing but the cache to go by."""

        def score(self, images, *, options):
            assert images == []
            return iter(())

    points = sweep(
        Deaf(),
        labeled,
        options=options,
        text_thresholds=[0.5, 0.99],
        link_thresholds=[options.link_threshold],
        low_texts=[options.low_text, 0.6],
        cache=cache,
    )
    assert len(points) == 4
    assert points[0].evaluation.hmean == max(p.evaluation.hmean for p in points)
    for p in points:
        alone = evaluate_detector(
            Deaf(), labeled, options=DetectorOptions(**p.thresholds, canvas_size=256), cache=cache
        )
        assert alone.evaluation == p.evaluation

    tuned = replace(options, **points[0].thresholds)
    save_operating_point(tmp_path / "point.json", tuned, measured=points[0].to_dict())
    loaded = load_operating_point(tmp_path / "point.json")
    assert loaded == tuned
    with pytest.raises(OperatingPointError, match="not an operating point"):
        load_operating_point(tmp_path / "gt" / "gt_img_0.txt")


def test_samples_are_evaluated_as_their_files_are(tmp_path, labeled):
    options = tiny().options
    samples = [Sample(read_image(page.path), replace(page, path=None)) for page in labeled]
    cache = ScoreCache(tmp_path / "scores", fingerprint="x", options=options)
    points = [
        evaluate_detector(tiny(), truth, options=options, cache=cache)
        for truth in (labeled, samples, [samples[0], labeled[1]])
    ]
    pairs = [[image.pairs for image in point.evaluation.images] for point in points]
    assert pairs[0] == pairs[1] == pairs[2]
    assert any(pairs[0])


def test_an_evaluation_does_not_depend_on_which_pictures_are_read_together(labeled):
    """Padding to a few sizes would make it so: it takes sizes that are there already."""
    variables, options = tiny()._variables, tiny().options
    sizes = [(32 * h, 32 * w) for h in (1, 2, 4) for w in (1, 2, 3, 5)]
    others = [Sample(np.zeros((*size, 3), np.uint8), Page(*size)) for size in sizes]
    crowded = Detector(variables, options=options)
    crowded.detect([sample.image for sample in others])
    assert crowded._plan([(96, 160)], options) == [(128, 160)]

    fresh = Detector(variables, options=options)
    alone = dict(score_pages(fresh, labeled, options=options))
    together = dict(score_pages(crowded, [*others, *labeled], options=options))
    for index in range(len(labeled)):
        one, other = alone[index], together[len(others) + index]
        np.testing.assert_array_equal(one.maps, other.maps)
        assert find_words(one, options) == find_words(other, options)
        assert find_words(one, options)


def test_truth_of_a_section(tmp_path, labeled):
    section = {
        "kind": "icdar",
        "root": tmp_path,
        "images": "images",
        "gt": "gt",
        "layout": "quad",
        "dont_care": ("###",),
    }
    assert [page.path for page in read_truth(section)] == [page.path for page in labeled]
    synthetic = {
        "kind": "pages",
        "preset": "plain",
        "page": {"height": 64, "width": 96, "split": "test"},
        "count": 2,
        "seed": 3,
    }
    one, other = read_truth(synthetic)
    assert one.image.shape == (64, 96, 3)
    assert one != other
    assert read_truth(synthetic)[0] == one
    assert read_truth({**synthetic, "seed": 4})[0] != one
    with pytest.raises(EvaluationError, match="kind of labeled pages is 'coco', expected"):
        read_truth({"kind": "coco"})


def test_the_cache_knows_other_options_and_pictures(tmp_path, labeled):
    options = tiny().options
    cache = ScoreCache(tmp_path / "scores", fingerprint="x", options=options)
    scored = dict(score_pages(tiny(), labeled, options=options, cache=cache))
    kept = cache.load(labeled[0])
    np.testing.assert_array_equal(kept.maps, scored[0].maps)
    assert kept.fit == scored[0].fit
    for other in (
        ScoreCache(tmp_path / "scores", fingerprint="y", options=options),
        ScoreCache(tmp_path / "scores", fingerprint="x", options=DetectorOptions(mag_ratio=2)),
    ):
        assert other.load(labeled[0]) is None
    write_image(labeled[0].path, np.zeros((96, 160, 3), np.uint8))
    assert cache.load(labeled[0]) is None


def test_a_missing_picture_stops_an_evaluation(labeled):
    Path(labeled[1].path).unlink()
    with pytest.raises(EvaluationError, match=r"img_1\.png"):
        evaluate_detector(tiny(), labeled, options=tiny().options)
    with pytest.raises(EvaluationError, match="no labeled images"):
        evaluate_detector(tiny(), [], options=tiny().options)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # ml_collections loads configs by a deprecated call.
    warnings = ("-W", "error", "-W", "ignore:the load_module() method:DeprecationWarning")
    return subprocess.run(
        [sys.executable, *warnings, "-m", *arguments], capture_output=True, text=True
    )


def test_a_run_has_the_thresholds_of_its_weights(tmp_path):
    assert operating_point_path(tmp_path / "run").name == "run.operating_point.json"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights.pth").touch()
    path = operating_point_path(tmp_path / "run")
    assert path == operating_point_path(tmp_path / "run" / "weights.pth")
    assert path.parent == tmp_path / "run"


def test_the_commands(tmp_path, labeled):
    """`ocrjax convert`, `ocrjax detect` and `craftjax.main`, as a user runs them."""
    save_weights(tmp_path / "net.pth", to_state_dict(tiny()._variables))
    done = run("ocrjax.cli.main", "convert", f"{tmp_path}/net.pth", f"{tmp_path}/net")
    assert done.returncode == 0, done.stderr
    (tmp_path / "images" / "bad.jpg").write_bytes(b"no picture")
    done = run(
        *("ocrjax.cli.main", "detect", f"{tmp_path}/images", "--weights", f"{tmp_path}/net"),
        *("--json", f"{tmp_path}/out.jsonl", "--overlay", f"{tmp_path}/drawn", "--heatmaps"),
        *("--text-threshold", "0.5", "--canvas-size", "256"),
    )
    assert done.returncode == 1, done.stderr
    assert "canvas_size=256 mag_ratio=1: EasyOCR's; --text-threshold, --canvas-size" in done.stdout
    assert "skipped" in done.stderr
    assert "bad.jpg" in done.stderr
    assert "Traceback" not in done.stderr
    found = read_pages(tmp_path / "out.jsonl")
    assert [len(page.words) + 1 for page in found] == [len(page.words) for page in labeled]
    drawn = {path.name for path in (tmp_path / "drawn").iterdir()}
    assert drawn == {"img_0.png", "img_1.png", "img_0_scores.png", "img_1_scores.png"}

    (tmp_path / "images" / "bad.jpg").unlink()
    config = Path(__file__).parents[2] / "configs" / "ic15.py"
    common = (
        *("craftjax.main", f"--config={config}", f"--weights={tmp_path}/net"),
        *(f"--images={tmp_path}/images", f"--gt={tmp_path}/gt", f"--workdir={tmp_path}/exp"),
        *("--config.detector.canvas_size=256", "--config.detector.mag_ratio=1.0"),
    )
    done = run(*common, "--mode=sweep")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "exp" / "sweep.json").read_text())
    assert len(report["points"]) == 9 * 5 * 6
    assert len(report["best"]["images"]) == 2
    assert "not tuned, nothing written: " in done.stdout
    assert "words on 2 images are too few to choose thresholds by" in done.stdout
    beside = operating_point_path(tmp_path / "net")
    assert not beside.exists()
    point = DetectorOptions(text_threshold=0.65, canvas_size=512)
    save_operating_point(beside, point, measured={}, chosen="by hand")
    assert Detector.from_weights(tmp_path / "net").options == point
    assert Detector.from_weights(tmp_path / "net.pth").options == DetectorOptions()
    assert "on --images, 2 pages" in done.stdout

    done = run(*common, "--mode=evaluate", "--config.detector.low_text=0.99")
    assert done.returncode == 0, done.stderr
    used = "text_threshold=0.65 link_threshold=0.4 low_text=0.99 canvas_size=256 mag_ratio=1"
    assert f"{used}: {beside} (by hand); " in done.stdout
    assert "low_text from the command line; config.detector has text_threshold" in done.stdout

    for folder in ("images", "gt"):
        shutil.copytree(tmp_path / folder, tmp_path / "test" / folder)
    own = [option for option in common if not option.startswith(("--images", "--gt"))]
    own += [f"--config.data.root={tmp_path}", "--config.sweep.low_text=(0.4,)"]
    done = run(*own, "--mode=sweep")
    assert done.returncode == 0, done.stderr
    assert "on config.eval.pages, 1 pages" in done.stdout  # the two of the test are not tuned on

    done = run(*common, "--config.detector.canvas_szie=3")
    assert done.returncode == 1
    assert "no config.detector.canvas_szie; did you mean config.detector.canvas_size?" in (
        done.stderr
    )
    assert "Traceback" not in done.stderr
    done = run("craftjax.main", f"--config={config.with_name('ic13.py')}", "--mode=train")
    assert done.returncode == 1
    assert "config.data.train has no data set" in done.stderr

    (tmp_path / "gt" / "gt_img_0.txt").write_text("1,2,3\n")
    done = run(*common)
    assert done.returncode == 1
    assert "gt_img_0.txt:1" in done.stderr
    assert "Traceback" not in done.stderr
    done = run(*common, "--skip_bad")
    assert done.returncode == 0, done.stderr
    assert "left out 1 malformed" in done.stderr
