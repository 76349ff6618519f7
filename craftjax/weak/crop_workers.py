"""Threads or processes that crop words for the teacher and split them by its scores.

Splitting is mostly Python, which holds the GIL: more threads do not split more words than about
1,000 per second. That is enough for a CPU, which scores a few dozen; more needs processes.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np

from craftjax.boxes import MAP_STRIDE
from craftjax.weak.label_set import mark
from craftjax.weak.options import PseudoOptions
from craftjax.weak.pseudo_labels import PseudoWord, label_word
from craftjax.weak.word_crops import WordCrop, crop_word
from ocrcore.data.mixing import SourceError
from ocrcore.data.processes import Submit, one_opencv_thread, worker_pool
from ocrcore.images import ImageError
from ocrcore.pages import FloatArray, LabelError, PageError, Sample
from ocrcore.text import visible_graphemes

UNREADABLE = (ImageError, LabelError, PageError)
"""Errors of an unusable page."""


class WordLabel(NamedTuple):
    """A word with its characters.

    Attributes:
        page: index of its page among the requested pages.
        word: index on the page.
        label: its characters.
        mass: mean region score of its crop, with scores clipped to [0, 1].
    """

    page: int
    word: int
    label: PseudoWord
    mass: float


class WordJob(NamedTuple):
    """A word to score: its page, its index there, its text and its crop."""

    page: int
    word: int
    text: str
    crop: WordCrop


class CroppedPage(NamedTuple):
    """A page to score.

    Attributes:
        mark: `craftjax.weak.label_set.mark` of the page.
        jobs: its words.
    """

    mark: int
    jobs: list[WordJob]


@dataclass(frozen=True)
class CropWork:
    """The work of a thread or process: crop the words of a page, and split scored words.

    Attributes:
        read: reads a page by index, thread-safe; pickled for processes.
        options: how words are cropped and split.
        widest: greatest width of a crop in pixels; wider ones are squeezed.
    """

    read: Callable[[int], Sample]
    options: PseudoOptions
    widest: int

    def crop(self, page: int) -> CroppedPage | Exception:
        """Read a page and crop its words; return the error of an unusable page."""
        try:
            sample = self.read(page)
        except UNREADABLE as error:
            return error
        return CroppedPage(mark(sample.page), list(self._crops(page, sample)))

    def cut(self, jobs: Sequence[WordJob], scores: FloatArray) -> list[WordLabel]:
        """Split words into characters.

        Args:
            jobs: the words.
            scores: `(n, H, W, 2)` region and affinity scores of their crops, each in the top left;
                rows after the last word are ignored.

        Raises:
            ValueError: scores are not finite.
        """
        found = []
        for job, maps in zip(jobs, scores, strict=False):
            height, width = (side // MAP_STRIDE for side in job.crop.image.shape[:2])
            region, affinity = maps[:height, :width, 0], maps[:height, :width, 1]
            label = label_word(region, affinity, crop=job.crop, text=job.text, options=self.options)
            mass = float(np.clip(region, 0, 1).mean())
            found.append(WordLabel(job.page, job.word, label, mass))
        return found

    def _crops(self, page: int, sample: Sample) -> Iterator[WordJob]:
        for index, word in enumerate(sample.page.words):
            if not word.care or not word.text or not visible_graphemes(word.text):
                continue
            crop = crop_word(sample.image, word.quad, text=word.text, options=self.options)
            if crop is not None and crop.image.shape[1] >= MAP_STRIDE:
                yield WordJob(page, index, word.text, _squeezed(crop, self.widest))


@contextmanager
def crop_workers(work: CropWork, *, threads: int, workers: int) -> Iterator[Submit]:
    """Context manager: run the methods of `work` in threads or processes.

    Args:
        work: the object whose methods are called.
        threads: number of threads, if there are no workers.
        workers: number of processes; 0 uses threads.

    Yields:
        A function that takes a method of `CropWork` and its arguments, and returns a future.

    Raises:
        SourceError: a worker was killed.
    """
    if not workers:
        with one_opencv_thread(), ThreadPoolExecutor(threads) as pool:
            yield lambda task, *arguments: pool.submit(task, work, *arguments)
        return
    with worker_pool(
        partial(_unpickled, work),
        workers,
        work="crops and splits words",
        setting="config.pseudo.workers",
        error=SourceError,
    ) as submit:
        yield submit


def _unpickled(work: CropWork) -> CropWork:
    return work


def _squeezed(crop: WordCrop, most: int) -> WordCrop:
    height, width = crop.image.shape[:2]
    if width <= most:
        return crop
    image = cv2.resize(crop.image, (most, height), interpolation=cv2.INTER_AREA)
    return crop._replace(image=image, to_page=crop.to_page @ np.diag([width / most, 1, 1]))
