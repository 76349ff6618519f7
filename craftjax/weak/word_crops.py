"""The host's share of pseudo labels: words are cropped for the teacher, and cut by its scores.

Cutting is mostly Python, which holds the interpreter's lock: more threads cut no more words, about
1,000 a second. That is enough for a CPU, which scores a few dozen; more takes processes.

Host code: no jax.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from craftjax.boxes import MAP_STRIDE
from craftjax.weak.label_set import mark
from craftjax.weak.pseudo_labels import (
    PseudoOptions,
    PseudoWord,
    WordCrop,
    crop_word,
    label_word,
    visible_graphemes,
)
from ocrcore.data.mixing import SourceError
from ocrcore.data.processes import end_with_parent, signals_held
from ocrcore.images import ImageError
from ocrcore.pages import FloatArray, LabelError, PageError, Sample

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


class Job(NamedTuple):
    """A word to be scored: its page and its index there, its text and its crop."""

    page: int
    word: int
    text: str
    crop: WordCrop


class Cropped(NamedTuple):
    """A page to be scored.

    Attributes:
        mark: `craftjax.weak.label_set.mark` of it.
        jobs: its words.
    """

    mark: int
    jobs: list[Job]


@dataclass(frozen=True)
class Tools:
    """What it takes to crop and to cut.

    Attributes:
        read: gives the page of a place, from any thread; for processes it is pickled.
        options: how words are cropped and cut.
        widest: crop, in pixels; wider ones are squeezed.
    """

    read: Callable[[int], Sample]
    options: PseudoOptions
    widest: int

    def crop(self, page: int) -> Cropped | Exception:
        """Reads a page and crops its words; or says why it cannot be used."""
        try:
            sample = self.read(page)
        except UNREADABLE as error:
            return error
        return Cropped(mark(sample.page), list(self._crops(page, sample)))

    def cut(self, jobs: Sequence[Job], scores: FloatArray) -> list[WordLabel]:
        """Cuts words into characters.

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

    def _crops(self, page: int, sample: Sample) -> Iterator[Job]:
        for index, word in enumerate(sample.page.words):
            if not word.care or not word.text or not visible_graphemes(word.text):
                continue
            crop = crop_word(sample.image, word.quad, text=word.text, options=self.options)
            if crop is not None and crop.image.shape[1] >= MAP_STRIDE:
                yield Job(page, index, word.text, _squeezed(crop, self.widest))


Submit = Callable[..., Future[Any]]
"""Takes a method of `Tools` and its arguments."""


@contextmanager
def hands(tools: Tools, *, threads: int, workers: int) -> Iterator[Submit]:
    """Gives what has work done: by threads of this process or by others, started by spawning.

    Args:
        tools: for the work.
        threads: how many, where there are no workers.
        workers: how many processes; 0 for threads.

    Raises:
        SourceError: a worker was killed.
    """
    pool: Executor
    if not workers:
        with _one_thread_each(), ThreadPoolExecutor(threads) as pool:
            yield lambda task, *arguments: pool.submit(task, tools, *arguments)
        return
    others = {*multiprocessing.active_children()}
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(tools,)
    )
    try:
        with signals_held():
            for _ in range(workers):  # starts them all
                pool.submit(int)
        yield lambda task, *arguments: pool.submit(_do, task, *arguments)
    except BrokenProcessPool as error:
        # The pool asks the others to end, which they are deaf to, and would wait for ever.
        for process in {*multiprocessing.active_children()} - others:
            process.kill()
        raise SourceError(
            f"a process that crops and cuts words has ended ({error}). If it was killed, the "
            f"memory may be too small: take fewer than the {workers} of config.pseudo.workers. The "
            "same command goes on from the last checkpoint"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_tools: list[Tools] = []  # of a worker


def _start(tools: Tools) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent's to answer
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    cv2.setNumThreads(0)
    _tools[:] = [tools]


def _do(task: Callable[..., Any], *arguments: Any) -> Any:
    return task(_tools[0], *arguments)


def _squeezed(crop: WordCrop, most: int) -> WordCrop:
    height, width = crop.image.shape[:2]
    if width <= most:
        return crop
    image = cv2.resize(crop.image, (most, height), interpolation=cv2.INTER_AREA)
    return crop._replace(image=image, to_page=crop.to_page @ np.diag([width / most, 1, 1]))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """OpenCV's own threads would fight with ours."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
