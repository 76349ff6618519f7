"""Pseudo labels in bulk: a teacher scores word crops in full batches, the host splits them.

The original scores one crop at a time at its own size, inside the data loader, each time a page is
drawn. Here threads or processes (`craftjax.weak.crop_workers`) crop the words of many pages; the
crops are sorted into eight widths and scored in full batches over all devices; words are split
while the devices work on the next batch. The labels of a word only depend on the word and the
teacher: its input width does not depend on the words in the same batch or on the order of threads.
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
"""Widths of the network's inputs for crops of height 128, in proportion for other heights. Each has
one program. Wider crops are squeezed into the last width. These eight widths need the least padding
for the words of ICDAR 2003, ICDAR 2015 and ICDAR 2013's web graphics."""
_HEIGHT = 128
_TYPICAL = 256  # width of the crops that `batch_size` refers to
_AHEAD = 2  # batches queued for the devices; pages queued for each thread or process


class Labeled(NamedTuple):
    """The result of `Labeler.label`.

    Attributes:
        marks: `craftjax.weak.label_set.mark` of each page, 0 for an unreadable page.
        words: the labeled words, in the order of pages and words.
        errors: errors of unreadable pages, by index.
    """

    marks: list[int]
    words: list[WordLabel]
    errors: dict[int, Exception]


class Labeler:
    """Splits words into characters by a network's scores; all teachers share its programs.

    Args:
        model: the network.
        mesh: devices of this process.
        options: how words are cropped and split.
        batch_size: crops with a width of twice the height that a device scores together; fewer for
            wider crops. None is 1 on CPU, where larger batches are not faster, and 64 elsewhere.
        threads: threads that crop and split.
        workers: processes to use instead of threads; `read` must be picklable then. Each labeling
            restarts them, which takes seconds.

    Raises:
        ValueError: a number is out of range.
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
        """The number of input sizes compiled so far."""
        return len(self._used)

    def label(
        self,
        variables: Mapping[str, Any],
        count: int,
        read: Callable[[int], Sample],
        progress: Callable[[int], object] = lambda done: None,
    ) -> Labeled:
        """Split the words of some pages into characters.

        Words that do not count, have no text or cannot be cropped are left out; pages with only
        such words are read but not scored.

        Args:
            variables: variables of the teacher.
            count: number of pages.
            read: reads a page by index, thread-safe.
            progress: called with the number of pages read so far.

        Raises:
            ValueError: scores are not finite.
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
        """Return the number of crops of a width that are scored together, on all devices."""
        typical = _TYPICAL * self.options.height // _HEIGHT
        return self._mesh.size * max(1, self._batch_size * typical // width)

    def _batches(self, jobs: Iterable[WordJob]) -> Iterator[tuple[int, list[WordJob]]]:
        """Sort words into batches by width; the last batch of each width may not be full."""
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
