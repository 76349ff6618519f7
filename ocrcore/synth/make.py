"""Makes synthetic data sets: parallel, resumable, with the same bytes for any number of workers.

`synth.json` in the folder of a set records what determines the set, and its progress. Samples are
written in order, and recorded there piece by piece, of `records_per_file` samples each; a killed
run loses at most one piece. `ocrcore.synth.pieces` makes such pieces on several machines.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ocrcore.data.processes import bounded_workers, in_order, one_opencv_thread, worker_pool
from ocrcore.files import write_json
from ocrcore.images import encode_image
from ocrcore.pages import Character, Page, Sample, Word
from ocrcore.synth.config import ConfigError
from ocrcore.synth.crops import CropSource
from ocrcore.synth.fonts import Font
from ocrcore.synth.job import Job
from ocrcore.synth.pages import PageSource, SynthError
from ocrcore.synth.text import TextError
from ocrcore.synth.words import WordCrop, WordRenderer
from ocrcore.synth.write import CROP_FORMATS, open_writer
from ocrcore.text import graphemes

MANIFEST = "synth.json"
_PAGES_A_TASK, _CROPS_A_TASK = 8, 64


def crop_sample(crop: WordCrop) -> Sample:
    """Convert a drawn word to a page of one word, with a quad around its characters."""
    letters = [c for c in graphemes(crop.text) if not c.isspace()]
    characters = tuple(
        Character(text=text, quad=quad) for text, quad in zip(letters, crop.quads, strict=True)
    )
    points = crop.quads.reshape(-1, 2)
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    quad = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)
    word = Word(quad=quad, text=crop.text, characters=characters, line=0)
    height, width = crop.image.shape[:2]
    return Sample(image=crop.image, page=Page(height=height, width=width, words=(word,)))


@dataclass
class Made:
    """Samples ready to be written, and problems that occurred.

    Attributes:
        samples: an encoded image and a page, or an encoded image and a text.
        undrawable: how often a text was discarded because no font has this character.
        problems: path to reason, for fonts and images that cannot be used.
    """

    samples: list[tuple[bytes, Page | str]] = field(default_factory=list)
    undrawable: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)


class Maker:
    """Makes the samples of a job, by index.

    Args:
        job: what to make.

    Raises:
        ConfigError: invalid settings.
        FontError: no font is left.
        TextError: no usable texts.
        ImageError: no background is left.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._source: PageSource | CropSource | WordRenderer
        self._problems: dict[str, str] = {}
        if job.drawn:
            config = job.word_config(self._problems)
            self._source = WordRenderer(config, seed=job.seed, length=job.count)
            self._undrawable = self._source.refused
            self.fonts: tuple[Font, ...] = tuple(self._source.fonts)
            self.pictures: tuple[Path, ...] = ()
            return
        if job.format in CROP_FORMATS:
            pages_config = job.page_config()
            self._source = CropSource(
                pages_config,
                job.seed,
                height=job.crop_height,
                max_length=pages_config.text.max_length,
                length=job.count,
            )
            pages = self._source.pages
        else:
            self._source = pages = PageSource(job.page_config(), job.seed, length=job.count)
        self._undrawable, self._problems = pages.undrawable, pages.problems
        self.fonts, self.pictures = tuple(pages.fonts), tuple(pages.pictures)

    def sample(self, index: int) -> Sample:
        """Return a sample with its image as drawn; a crop becomes a page of one word."""
        made = self._source[index]
        if isinstance(made, Sample):
            return made
        if isinstance(made, WordCrop):
            return crop_sample(made)
        height, width = made.image.shape[:2]
        quad = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
        words = (Word(quad=quad, text=made.text),)
        return Sample(image=made.image, page=Page(height=height, width=width, words=words))

    def make(self, indices: Sequence[int]) -> Made:
        """Make samples, ready to be written."""
        out = Made()
        if isinstance(self._source, CropSource):
            self._source.forget()
        for index in indices:
            sample = self.sample(index)
            # Several processes may draw the same page; its faults are counted once.
            if not isinstance(self._source, CropSource) or index % self._source.per_page == 0:
                out.undrawable.update(self._undrawable)
            self._undrawable.clear()
            image = encode_image(sample.image, suffix=self.job.suffix, quality=self.job.quality)
            label: Page | str = sample.page
            if self.job.format in CROP_FORMATS:
                label = sample.page.words[0].text or ""
            out.samples.append((image, label))
        out.problems = dict(self._problems)
        return out


@dataclass
class Summary:
    """The progress of a data set.

    Attributes:
        done: samples written, by this run and earlier ones.
        undrawable: as in `Made`, for all runs.
        problems: as in `Made`, for all runs.
        finished: whether the set is complete.
    """

    done: int = 0
    undrawable: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)
    finished: bool = False


def make_set(
    job: Job,
    folder: str | Path,
    *,
    workers: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Make a data set, or the missing part of it.

    Args:
        job: what to make.
        folder: the output folder: new, empty, or left by an earlier run of the same job.
        workers: number of processes; 0: only this one.
        progress: called from time to time with the number of samples written.

    Returns:
        What was done.

    Raises:
        ConfigError: the folder holds something else, or `workers` is negative.
        SynthError: a worker died, or no text can be drawn.
        OSError: a file cannot be written.
    """
    if workers < 0:
        raise ConfigError(f"workers is {workers}, expected 0 or more")
    workers = bounded_workers(workers, setting="--workers")
    folder = Path(folder)
    maker = Maker(job)  # rejects a bad job before anything is written
    arguments = arguments_of(maker)
    summary = read_note(folder, arguments)
    progress(summary.done)
    if summary.finished:
        return summary
    folder.mkdir(parents=True, exist_ok=True)
    write_note(folder, arguments, summary)
    writer = open_writer(
        job.format,
        folder,
        count=job.count,
        records_per_file=job.records_per_file,
        suffix=job.suffix,
        done=summary.done,
    )
    index = summary.done
    tasks = tasks_of(job, range(index, job.count))
    with closing(writer), closing(make_tasks(maker, tasks, workers)) as results:
        for made in results:
            for image, label in made.samples:
                writer.add(index, image, label)
                index += 1
            summary.undrawable += made.undrawable
            summary.problems |= made.problems
            progress(index)
            if index % job.records_per_file == 0 or index == job.count:
                writer.commit()
                summary.done = index
                write_note(folder, arguments, summary)
        writer.finish()
    summary.finished = True
    write_note(folder, arguments, summary)
    return summary


def tasks_of(job: Job, indices: range) -> Iterator[range]:
    """Yield the ranges to make at once; none crosses the border of a piece."""
    step = _PAGES_A_TASK if job.unit == "page" else _CROPS_A_TASK
    start, size = indices.start, job.records_per_file
    while start < indices.stop:
        stop = min(start + step, (start // size + 1) * size, indices.stop)
        yield range(start, stop)
        start = stop


def make_tasks(maker: Maker, tasks: Iterator[range], workers: int) -> Generator[Made, None, None]:
    """Yield the results of the tasks, in order."""
    if workers == 0:
        with one_opencv_thread():
            yield from map(maker.make, tasks)
        return
    with worker_pool(
        partial(Maker, maker.job),
        workers,
        work="makes samples",
        setting="--workers",
        error=SynthError,
    ) as submit:
        yield from in_order(partial(submit, _make), tasks, ahead=2 * workers)


def _make(maker: Maker, task: range) -> Made:
    """Make the samples of a task in a worker."""
    try:
        return maker.make(task)
    except (TextError, ConfigError, SynthError, OSError):
        raise
    except Exception as error:
        raise SynthError(f"sample {task}: {traceback.format_exc()}") from error


def arguments_of(maker: Maker) -> dict[str, Any]:
    """Return what must not change between the runs of a set, as JSON."""
    job = maker.job
    arguments = {k: v for k, v in asdict(job).items() if k not in ("fonts", "backgrounds", "words")}
    arguments["fonts"] = _digest([(font.path, font.index) for font in maker.fonts])
    arguments["backgrounds"] = _digest([(str(path), 0) for path in maker.pictures])
    arguments["words"] = _digest([(job.words, 0)] if job.words else [])
    return dict(json.loads(json.dumps(arguments)))


def _digest(files: list[tuple[str, int]]) -> str:
    """Describe files by name and size, wherever they are."""
    known = [(Path(path).name, Path(path).stat().st_size, index) for path, index in files]
    short = hashlib.blake2b(json.dumps(known).encode(), digest_size=8).hexdigest()
    return f"{len(files)} files, {short}" if files else "none"


def read_note(folder: Path, arguments: dict[str, Any]) -> Summary:
    """Read the progress of an earlier run.

    Raises:
        ConfigError: the folder holds a set of another job, or no set.
    """
    path = folder / MANIFEST
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(
                f"{folder}: is not empty and has no {MANIFEST} of an earlier run: give a new or "
                "empty folder"
            )
        return Summary()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        before = dict(found["arguments"])
        summary = Summary(
            done=int(found["done"]),
            undrawable=Counter({str(k): int(v) for k, v in found["undrawable"].items()}),
            problems={str(k): str(v) for k, v in found["problems"].items()},
            finished=bool(found["finished"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: not a note of an earlier run: {error!r}") from error
    differ = [k for k in {**before, **arguments} if before.get(k) != arguments.get(k)]
    if differ:
        lines = "; ".join(f"{k} was {before.get(k)}, now {arguments.get(k)}" for k in differ)
        raise ConfigError(
            f"{folder}: an earlier run made another set here: {lines}. Give the same arguments to "
            "continue it, or another folder"
        )
    return summary


def write_note(folder: Path, arguments: dict[str, Any], summary: Summary) -> None:
    """Write `synth.json`: what determines the set, and its progress."""
    value = {
        "arguments": arguments,
        "done": summary.done,
        "finished": summary.finished,
        "undrawable": dict(summary.undrawable),
        "problems": dict(sorted(summary.problems.items())),
    }
    write_json(folder / MANIFEST, value)


def samples(job: Job, count: int) -> list[Sample]:
    """Make the first samples of a job, for a preview."""
    maker = Maker(job)
    return [maker.sample(index) for index in range(count)]
