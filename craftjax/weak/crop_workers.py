"""Threads or processes that crop words for the teacher and cut its scores into characters.

Cutting is mostly Python, which holds the interpreter's lock: more threads cut no more words, about
1,000 a second. That is enough for a CPU, which scores a few dozen; more takes processes.

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
"""What a page that cannot be used raises."""


class WordLabel(NamedTuple):
    """A word that was taken apart.

    Attributes:
        page: its place among the pages that were asked for.
        word: its index on the page.
        label: its characters.
        mass: mean region score of its crop, each clipped to [0, 1].
    """

    page: int
    word: int
    label: PseudoWord
    mass: float


class WordJob(NamedTuple):
    """A word to be scored: its page and its index there, its text and its crop."""

    page: int
    word: int
    text: str
    crop: WordCrop


class CroppedPage(NamedTuple):
    """A page to be scored.

    Attributes:
        mark: `craftjax.weak.label_set.mark` of it.
        jobs: its words.
    """

    mark: int
    jobs: list[WordJob]


@dataclass(frozen=True)
class CropWork:
    """The work of a thread or process: it crops the words of a page, and cuts scored words.

    Attributes:
        read: gives the page of a place, from any thread; for processes it is pickled.
        options: how words are cropped and cut.
        widest: crop, in pixels; wider ones are squeezed.
    """

    read: Callable[[int], Sample]
    options: PseudoOptions
    widest: int

    def crop(self, page: int) -> CroppedPage | Exception:
        """Read a page and crops its words; or says why it cannot be used."""
        try:
            sample = self.read(page)
        except UNREADABLE as error:
            return error
        return CroppedPage(mark(sample.page), list(self._crops(page, sample)))

    def cut(self, jobs: Sequence[WordJob], scores: FloatArray) -> list[WordLabel]:
        """Cut words into characters.

        Args:
            jobs: the words.
            scores: `(n, H, W, 2)` region and affinity scores of their crops and perhaps of others
                after them, each in the top left.

        Raises:
            ValueError: scores that are not finite.
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
    """Threads of this process, or others, that call the methods of `work`.

    Args:
        work: whose methods they call.
        threads: how many, where there are no workers.
        workers: how many processes; 0 for threads.

    Yields:
        A function that takes a method of `CropWork` and its arguments, and returns the future.

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
        work="crops and cuts words",
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
