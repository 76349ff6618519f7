"""Learning from another network's scores."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import jax
import numpy as np
import pytest
import tiny_detector

import craftjax
from craftjax.augment import AugmentOptions
from craftjax.config import DistillOptions, distill, pseudo, source
from craftjax.convert import to_state_dict
from craftjax.detector import fingerprint_of, read_variables
from craftjax.distillation import make_teacher
from craftjax.input_pipeline import InputOptions, make_item
from craftjax.models import CRAFT, init_variables
from craftjax.sources import Mix, SourceOptions
from craftjax.taught_crops import TaughtCrops, same_facts
from ocrcore.data.mixing import SourceError
from ocrcore.images import ImageError, write_image
from ocrcore.pages import Page, PageError, Sample
from ocrcore.runtime.mesh import make_mesh, put_batch
from ocrcore.weights.pth import save_weights

scores_of = jax.jit(lambda variables, images: CRAFT(0.125).apply(variables, images)[0])


@pytest.fixture
def teacher(tmp_path):
    """A file of random weights, and these weights."""
    variables = init_variables(CRAFT(0.125), seed=3)
    save_weights(tmp_path / "teacher.safetensors", to_state_dict(variables))
    return tmp_path / "teacher.safetensors", variables


@pytest.fixture
def pictures(tmp_path):
    """A folder of two pictures, one of them in a folder of its own."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "more/b.png"):
        write_image(tmp_path / "pictures" / name, rng.integers(0, 256, (90, 120, 3), np.uint8))
    return tmp_path / "pictures"


def test_a_teacher_gives_its_scores_clipped(teacher):
    path, variables = teacher
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), np.uint8)
    mesh = make_mesh(jax.devices()[:1])
    placed = put_batch({"image": images}, mesh)["image"]
    maps = make_teacher(DistillOptions(teacher=str(path)), mesh=mesh)(placed)
    scores = np.clip(scores_of(variables, images), 0, 1)
    assert scores.min() < scores.max()
    np.testing.assert_allclose(maps["region"], scores[..., 0], atol=1e-5)
    np.testing.assert_allclose(maps["affinity"], scores[..., 1], atol=1e-5)
    assert np.array_equal(maps["confidence"], np.ones((2, 32, 48)))


def test_training_learns_the_teachers_scores_of_pages_and_of_pictures(teacher, pictures, tmp_path):
    path, variables = teacher
    config = tiny_detector.get_config()
    config.distill = distill(teacher=str(path))
    config.data.train.photos = source("pictures", path=str(pictures))
    config.data.train.photos.augment.crop = "random_crop"
    config.steps = 6
    # A student that is its teacher, and keeps its statistics, has nothing to learn.
    config.init_weights, config.model.freeze_norm = str(path), True
    craftjax.train(config, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [row["loss"] for row in map(json.loads, lines) if "loss" in row]
    scores = np.asarray(scores_of(variables, np.zeros((1, 64, 64, 3), np.uint8)))
    beyond = np.square(scores - np.clip(scores, 0, 1)).max()  # what clipping leaves to learn
    assert len(losses) == 6 and max(losses) < 4 * beyond + 1e-3


def test_crops_are_scored_once(teacher, pictures, tmp_path):
    path, variables = teacher
    config = tiny_detector.get_config()
    crops = tmp_path / "crops"
    config.distill = distill(teacher=str(path), crops=5, crop_size=96, cache=str(crops))
    config.data.train.photos = source("pictures", path=str(pictures))
    config.data.train.photos.augment.crop = "random_crop"
    config.data.train.own = source("python")
    image = np.random.default_rng(7).integers(0, 256, (100, 80, 3), np.uint8)
    own = {"own": [Sample(image, Page(100, 80, ()))]}
    config.steps, config.distill.scale = 2, (0.7, 1.5)
    config.init_weights, config.model.freeze_norm = str(path), True
    craftjax.train(config, tmp_path / "run", sources=own)
    samples = TaughtCrops(crops)
    assert len(samples) >= 5
    for sample in samples:
        scores = np.asarray(scores_of(variables, sample.image[None])[0])
        np.testing.assert_allclose(
            sample.maps[..., :2] / 255, np.clip(scores, 0, 1), atol=0.5 / 255 + 1e-5
        )
    # Windows of crops and of their maps lie alike.
    options = InputOptions(1, {}, size=(64, 64))
    plain = AugmentOptions(brightness=0, contrast=0, saturation=0, hue=0)
    item = make_item(np.random.default_rng(0), samples[0], plain, options)
    found = [
        (y, x)
        for y in range(17)
        for x in range(17)
        if np.array_equal(samples[0].image[2 * y : 2 * y + 64, 2 * x : 2 * x + 64], item.image)
    ]
    ((y, x),) = found
    expected = samples[0].maps[y : y + 32, x : x + 32, 0] / np.float32(255)
    np.testing.assert_allclose(item.region, expected, atol=1e-6)

    # A larger window is resized to the size of the crops, its maps as well.
    larger = replace(plain, scale=(64 / 96, 64 / 96))
    item = make_item(np.random.default_rng(0), samples[0], larger, options)
    whole = cv2.resize(samples[0].image, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.array_equal(item.image, whole)
    expected = cv2.resize(samples[0].maps, (32, 32), interpolation=cv2.INTER_AREA)[..., 1]
    np.testing.assert_allclose(item.affinity, expected / np.float32(255), atol=1e-6)
    with pytest.raises(PageError, match="96x96, expected at least 128x128"):
        make_item(np.random.default_rng(0), samples[0], replace(plain, scale=(0.5, 0.5)), options)
    smaller = make_item(np.random.default_rng(0), samples[0], replace(plain, scale=(2, 2)), options)
    assert smaller.image.shape == (64, 64, 3) and smaller.region.shape == (32, 32)

    made = {file: file.stat().st_mtime_ns for file in crops.iterdir()}
    (crops / f"{3:08d}.maps.png").unlink()  # as of a run that was killed
    craftjax.train(config, tmp_path / "again", sources=own)
    renewed = [file.name for file in made if file.stat().st_mtime_ns != made[file]]
    assert renewed and all(name.startswith("0000000") for name in renewed)
    assert "taught.json" not in renewed and len(renewed) < len(made)

    with pytest.raises(SourceError, match=r"own is a data set from Python, but none was given"):
        craftjax.train(config, tmp_path / "third")
    with pytest.raises(SourceError, match="made with other settings or from other files: data"):
        craftjax.train(config, tmp_path / "third", sources={"own": own["own"] * 2})
    photo = pictures / "more" / "c.png"  # in a subfolder, which is searched as well
    write_image(photo, image)
    with pytest.raises(SourceError, match="made with other settings or from other files: files"):
        craftjax.train(config, tmp_path / "third", sources=own)
    photo.unlink()
    save_weights(path, to_state_dict(init_variables(CRAFT(0.125), seed=4)))
    with pytest.raises(SourceError, match=r"with other weights than config\.distill\.teacher="):
        craftjax.train(config, tmp_path / "third", sources=own)
    config.distill.scale = (0.5, 2.0)
    with pytest.raises(SourceError, match="crop_size is 96, expected at least 128"):
        craftjax.train(config, tmp_path / "third")


def test_crops_belong_to_weights_whatever_their_name(teacher, tmp_path):
    path, variables = teacher
    weights = fingerprint_of(variables, "float32")
    assert fingerprint_of(read_variables(path), "float32") == weights
    assert fingerprint_of(variables, "bfloat16") != weights
    facts = {"teacher": "a.pth", "weights": "1234", "seed": 0, "scale": (1.0, 2.5)}
    same_facts(tmp_path, facts)
    same_facts(tmp_path, facts | {"teacher": "moved/b.pth"})
    with pytest.raises(SourceError, match=r"by 'a\.pth' with other weights than .*='a\.pth' has"):
        same_facts(tmp_path, facts | {"weights": "5678"})
    with pytest.raises(
        SourceError, match="made with other settings or from other files: scale, seed"
    ):
        same_facts(tmp_path, facts | {"seed": 1, "scale": (1.0, 2.0), "weights": "5678"})
    record = tmp_path / "taught.json"
    record.write_text(record.read_text().replace('"weights"', '"else"'))
    with pytest.raises(SourceError, match="made with other settings or from other files: else"):
        same_facts(tmp_path, facts)
    record.write_text("[1]")
    with pytest.raises(SourceError, match=r"taught\.json: not a record of crops"):
        same_facts(tmp_path, facts)


def test_a_folder_without_crops_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"config\.distill\.crops"):
        TaughtCrops(tmp_path)


def test_only_one_teacher(tmp_path):
    config = tiny_detector.get_config()
    config.distill, config.pseudo = distill(), pseudo()
    with pytest.raises(ValueError, match=r"config\.distill and config\.pseudo"):
        craftjax.train(config, tmp_path / "run")


def test_pictures_without_labels_are_pages_without_words(pictures):
    mix = Mix({"photos": SourceOptions("pictures", str(pictures))}, seed=0)
    names, words = set(), 0
    for position in range(2):
        which, sample, index, dropped = mix.sample(position)
        assert not dropped
        names.add(mix.name(which, index).removeprefix(str(pictures)))
        words += len(sample.page.words)
    assert names == {"/a.png", "/more/b.png"} and not words


def test_a_picture_that_cannot_be_read_is_dropped_and_a_folder_without_any_refused(pictures):
    (pictures / "a.png").write_bytes(b"no picture")
    mix = Mix({"photos": SourceOptions("pictures", str(pictures))}, seed=0)
    drops = [drop for position in range(2) for drop in mix.sample(position)[3]]
    assert {drop.reason for drop in drops} == {"picture"}
    (pictures / "more" / "b.png").unlink()
    (pictures / "a.png").unlink()
    with pytest.raises(ImageError, match="no images"):
        Mix({"photos": SourceOptions("pictures", str(pictures))}, seed=0)
