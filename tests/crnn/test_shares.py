"""Labeled crops that several processes read: each its share, all the scores of all."""

from __future__ import annotations

import json
from types import SimpleNamespace

import cv2
import jax
import numpy as np
import pytest

import crnnjax.evaluate
from crnnjax.charset import named
from crnnjax.evaluate import EvaluationError, join_texts, read_set, score_share
from crnnjax.options import RecognizerOptions
from crnnjax.recognizer import Reading
from ocrcore.data.readers.crops import Crop


def crop(number):
    data = cv2.imencode(".png", np.full((32, 48, 3), 20 * number, np.uint8))[1].tobytes()
    return Crop(f"crop {number}", f"Word{number}", data)


def read(images, report, **options):
    return [Reading(f"word{int(image.mean()) // 20 % 3}", 0.5) for image in images]


READER = SimpleNamespace(options=RecognizerOptions(), charset=named("en94"), recognize=read)
CROPS = [crop(number) for number in range(7)]
CROPS[4] = Crop("crop 4", "lost", b"no picture")


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_shares_equal_the_whole(count, monkeypatch):
    whole = read_set(READER, CROPS).scores
    given = []
    monkeypatch.setattr(jax, "process_count", lambda: count)
    with monkeypatch.context() as patch:
        patch.setattr(crnnjax.evaluate, "gather_json", given.append)
        patch.setattr(crnnjax.evaluate, "join_texts", lambda shares, name: None)
        for index in range(count):
            patch.setattr(jax, "process_index", lambda index=index: index)
            score_share(READER, CROPS)
    given = json.loads(json.dumps(given))
    monkeypatch.setattr(crnnjax.evaluate, "gather_json", lambda value: given)
    found = score_share(READER, CROPS)
    assert (found.truth, found.read) == (whole.truth, whole.read)
    assert found.to_dict() == whole.to_dict() and len(found) == 6


def test_shares_without_a_reading_are_refused():
    with pytest.raises(EvaluationError, match="2 of 2 crops cannot be read, the first: a"):
        join_texts([["a is broken"], ["b is broken"]], name="mine")
