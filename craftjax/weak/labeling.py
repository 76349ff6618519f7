"""Pseudo labels in bulk: a teacher scores word crops in full batches, the host cuts them.

The original scores one crop at a time at its own size, inside the data loader, each time that a
page is drawn. Here the words of many pages are cropped by threads or processes
(`craftjax.weak.crop_workers`), sorted into eight widths, and scored in full batches spread over the
devices; their characters are cut out while the devices work on the next batch. A word's labels
depend on the word and the teacher alone: its input has a width of its own, whatever words are
scored with it and whichever thread is first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from craftjax.models import CRAFT
from craftjax.resize import round_up
from craftjax.weak.crop_workers import CropWork, WordJob, WordLabel, crop_workers
from craftjax.weak.options import PseudoOptions
from ocrcore.data.processes import bounded_workers
from ocrcore.pages import Sample
from ocrcore.runtime.inference import drawn_ahead
from ocrcore.runtime.mesh import batch_sharding, put_batch, replicated

WIDTHS = (224, 320, 416, 512, 640, 800, 1088, 1600)
"""Widths of the network's inputs for crops of height 128; others are in proportion. Each has a
program. Wider crops are squeezed into the last. These eight pad the words of ICDAR 2003, ICDAR 2015
and ICDAR 2013's web graphics the least."""
_HEIGHT = 128
_TYPICAL = 256  # width of the crops that `batch_size` counts
_AHEAD = 2  # batches that the devices have before them; pages for each thread or process


class Labeled(NamedTuple):
    """What `Labeler.label` returns.

    Attributes:
        marks: `craftjax.weak.label_set.mark` of each page, 0 where it cannot be read.
        words: those labeled, in the order of pages and words.
        errors: pages that cannot be read, by their place.
    """

    marks: list[int]
    words: list[WordLabel]
    errors: dict[int, Exception]


class Labeler:
    """Takes words apart by a network's scores; programs are shared by all teachers.

    Args:
        model: the network.
        mesh: devices of this process.
        options: how words are cropped and cut.
        batch_size: crops of two heights' length that a device scores together; longer ones are
            fewer. None is 1 on CPU, where more buys nothing, and 64 elsewhere.
        threads: that crop and cut.
        workers: processes that do so in their place; what is read must be picklable then. Each
            labeling starts them again, which takes seconds.

    Raises:
        ValueError: numbers that cannot be.
    """

    def __init__(
        self,
        model: CRAFT,
        *,
        mesh: Mesh,
        options: PseudoOptions | None = None,
        batch_size: int | None = None,
        threads: int = 2,
        workers: int = 0,
    ) -> None:
        if threads < 1 or workers < 0 or (batch_size is not None and batch_size < 1):
            raise ValueError(
                f"threads={threads}, workers={workers}, batch_size={batch_size}: expected 0 or "
                "more workers, 1 or more of the others"
            )
        self.options = options or PseudoOptions()
        self.threads = threads
        self.workers = bounded_workers(workers, setting="config.pseudo.workers")
        self._mesh = mesh
        self._batch_size = batch_size or (1 if jax.default_backend() == "cpu" else 64)
        self._widths = [round_up(width * self.options.height // _HEIGHT) for width in WIDTHS]
        self._used: set[int] = set()
        self._apply = jax.jit(
            lambda variables, images: model.apply(variables, images)[0],
            in_shardings=(replicated(mesh), batch_sharding(mesh)),
            out_shardings=batch_sharding(mesh),
        )

    @property
    def programs(self) -> int:
        """Number of input sizes that were compiled for so far."""
        return len(self._used)

    def label(
        self,
        variables: Mapping[str, Any],
        count: int,
        read: Callable[[int], Sample],
        progress: Callable[[int], object] = lambda done: None,
    ) -> Labeled:
        """Take the words of some pages apart.

        Words that do not count, have no text or cannot be cropped are left out; pages without any
        other cost nothing but reading.

        Args:
            variables: of the teacher.
            count: number of pages.
            read: gives the page of a place, from any thread.
            progress: called with the number of pages that were read so far.

        Raises:
            ValueError: scores that are not finite.
            SourceError: a worker was killed.
        """
        teacher = jax.device_put(
            {name: variables[name] for name in ("params", "batch_stats")}, replicated(self._mesh)
        )
        marks, errors = [0] * count, dict[int, Exception]()
        ahead = (self.workers or self.threads) * _AHEAD

        def jobs(pages: Iterable[Future[Any]]) -> Iterator[WordJob]:
            for page, future in enumerate(pages):
                cropped = future.result()
                progress(page + 1)
                if isinstance(cropped, Exception):
                    errors[page] = cropped
                else:
                    marks[page], found = cropped
                    yield from found

        words = list[WordLabel]()
        work = CropWork(read, self.options, self._widths[-1])
        with crop_workers(work, threads=self.threads, workers=self.workers) as submit:
            pages = drawn_ahead((submit(CropWork.crop, page) for page in range(count)), ahead)
            scored = (
                (batch, self._score(teacher, width, batch))
                for width, batch in self._batches(jobs(pages))
            )
            cut = (
                submit(CropWork.cut, batch, np.asarray(scores))
                for batch, scores in drawn_ahead(scored, _AHEAD - 1)
            )
            for future in drawn_ahead(cut, ahead):
                words.extend(future.result())
        return Labeled(marks, sorted(words, key=lambda one: one[:2]), errors)

    def rows(self, width: int) -> int:
        """How many crops of a width are scored together, on all devices."""
        typical = _TYPICAL * self.options.height // _HEIGHT
        return self._mesh.size * max(1, self._batch_size * typical // width)

    def _batches(self, jobs: Iterable[WordJob]) -> Iterator[tuple[int, list[WordJob]]]:
        """Sort words by width; what is left in the end makes batches that are not full."""
        waiting: dict[int, list[WordJob]] = {width: [] for width in self._widths}
        for job in jobs:
            width = next(width for width in self._widths if width >= job.crop.image.shape[1])
            waiting[width].append(job)
            if len(waiting[width]) == self.rows(width):
                yield width, waiting[width]
                waiting[width] = []
        yield from ((width, rest) for width, rest in waiting.items() if rest)

    def _score(self, teacher: Any, width: int, batch: list[WordJob]) -> jax.Array:
        self._used.add(width)
        height = round_up(self.options.height)
        images = np.zeros((self.rows(width), height, width, 3), np.uint8)
        for row, job in enumerate(batch):
            rows, columns = job.crop.image.shape[:2]
            images[row, :rows, :columns] = job.crop.image
        scores: jax.Array = self._apply(teacher, put_batch(images, self._mesh))
        return scores
