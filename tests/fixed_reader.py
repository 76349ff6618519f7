"""A detector and a recognizer without networks, for tests of what is built on them."""

from __future__ import annotations

import os

import numpy as np

from craftjax.detector import Detection, Detector
from craftjax.options import DetectorOptions
from crnnjax.recognizer import PlacedReading, Reading, Recognizer
from ocrcore.images import ImageError, PageOfFile, load_image
from ocrcore.pages import Page, Word


def box(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


class FixedDetector(Detector):
    """Finds words where it is told, in as many rows as a picture is high."""

    def __init__(self, found):
        self.found, self.drawn = found, 0
        self.options = DetectorOptions()

    def expect(self, shapes):
        """It has no network, so no inputs."""

    def stream(self, images, **options):
        for index, image in enumerate(images):
            self.drawn += 1
            try:
                height, width = load_image(image).shape[:2]
            except ImageError as error:
                yield Detection(index, None, None, error)
                continue
            words = tuple(Word(quad, score=0.5) for quad in self.found(height, width))
            path = os.fspath(image) if isinstance(image, str | os.PathLike) else None
            number = image.number if isinstance(image, PageOfFile) else None
            yield Detection(index, Page(height, width, words, path, number), None)


class FixedRecognizer(Recognizer):
    """Reads the color of a crop's first pixel; is sure where the crop is red."""

    height = 32

    def __init__(self):
        self.batches = []

    def recognize_placed(self, images, report=None, **options):
        self.batches.append(len(images))
        self.options = options
        first = [image[0, 0].tolist() for image in images]
        readings = [Reading(f"{r} {g} {b}" if r + g + b else "", r / 255) for r, g, b in first]
        return [PlacedReading(reading, *places(reading.text)) for reading in readings]


def places(text):
    """Characters of one width, each a little surer than the one before."""
    edges = np.linspace(0, 1, len(text) + 1)
    spans = np.stack([edges[:-1], edges[1:]], axis=1)
    return np.float32(spans), np.float32(edges[1:])


def stripes(count):
    """A picture whose words are rows of 10 pixels."""
    image = np.zeros((10 * count, 40, 3), np.uint8)
    image[:, :, 0] = np.repeat(np.arange(1, count + 1), 10)[:, None]
    return image


def rows(height, width):
    return [box(0, top, width, top + 10) for top in range(0, height, 10)]
