"""Makes data sets of synthetic text: in parallel, resumable, the same bytes for any worker count.

`synth.json` in the folder of a set holds what the set is a function of, and how far it is. Samples
are written in order, and noted there shard by shard; a killed run loses at most one shard.
"""

from __future__ import annotations

import ast
import hashlib
import json
import multiprocessing
import signal
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ocrjax.pages import Character, Page, Sample, Word
from ocrjax.synth.config import PRESETS, SPLITS, Chance, ConfigError, SynthConfig, preset
from ocrjax.synth.crops import CropSource
from ocrjax.synth.fonts import Font, Split, bundled_fonts, find_fonts, select
from ocrjax.synth.glyphs import graphemes
from ocrjax.synth.pages import PageSource, SynthError
from ocrjax.synth.text import TextConfig, TextError
from ocrjax.synth.words import WordConfig, WordCrop, WordRenderer
from ocrjax.synth.write import (
    CROP_FORMATS,
    FORMATS,
    MAX_SYNTHTEXT,
    encode_image,
    open_writer,
    write_bytes,
)

MANIFEST = "synth.json"
MAX_COUNT = 999_999_999
"""The keys of an LMDB have nine digits."""
_PAGES_A_TASK, _CROPS_A_TASK = 8, 64


@dataclass(frozen=True)
class Job:
    """What a data set is a function of.

    Attributes:
        preset: one of `ocrjax.synth.config.PRESETS`.
        format: one of `ocrjax.synth.write.FORMATS`.
        count: of samples: pages, or crops.
        seed: whole number; another seed gives other samples.
        split: only fonts and backgrounds of this split; None: all.
        fonts: folders and files of fonts besides the bundled ones.
        without_weights: weights of fonts to leave out, as `ocrjax.synth.fonts.select` names them.
        bundled_fonts: whether those are used.
        backgrounds: folders and files of pictures to write on.
        words: file with the texts to write, one a line.
        changes: settings of the preset to change: dotted names and literals, as text.
        cut: whether crops are cut from pages; False: words are drawn one by one. None: as the
            preset wants it: "words" are drawn.
        crop_height: of crops.
        suffix: of the picture files: ".jpg" or ".png".
        quality: of JPEG files.
        shard: how many samples are noted, and where the format has shards or folders, kept,
            together.

    Raises:
        ConfigError: a value that cannot be, or two that do not go together.
    """

    preset: str
    format: str
    count: int
    seed: int = 0
    split: Split | None = None
    fonts: tuple[str, ...] = ()
    without_weights: tuple[str, ...] = ()
    bundled_fonts: bool = True
    backgrounds: tuple[str, ...] = ()
    words: str | None = None
    changes: tuple[tuple[str, str], ...] = ()
    cut: bool | None = None
    crop_height: int = 32
    suffix: str = ".jpg"
    quality: int = 95
    shard: int = 1000

    def __post_init__(self) -> None:
        for name, choice, known in (
            ("preset", self.preset, tuple(PRESETS)),
            ("format", self.format, FORMATS),
            ("split", self.split, (*SPLITS, None)),
            ("suffix", self.suffix, (".jpg", ".png")),
        ):
            if choice not in known:
                shown = ", ".join(str(k) for k in known)
                raise ConfigError(f"{name} is {choice!r}, expected one of {shown}")
        for name, value, low, high in (
            ("count", self.count, 1, MAX_SYNTHTEXT if self.format == "synthtext" else MAX_COUNT),
            ("seed", self.seed, 0, 2**63),
            ("quality", self.quality, 1, 100),
            ("shard", self.shard, 1, 1_000_000),
        ):
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}, expected {low} to {high} ({self.format})")
        if self.cut is not None and self.format not in CROP_FORMATS:
            raise ConfigError(
                f"crops are cut or drawn for {', '.join(CROP_FORMATS)}, not for {self.format}"
            )
        if self.drawn and self.backgrounds:
            raise ConfigError("words that are drawn one by one have no backgrounds: cut them")
        for path in (*self.fonts, *self.backgrounds, *((self.words,) if self.words else ())):
            if not Path(path).exists():
                raise ConfigError(f"{path}: no such file or folder")

    @property
    def drawn(self) -> bool:
        """Whether samples are words drawn one by one, not pages or parts of pages."""
        if self.format in CROP_FORMATS:
            return self.preset == "words" if self.cut is None else not self.cut
        return self.preset == "words" and self.format == "arrayrecord"

    @property
    def unit(self) -> str:
        """What is counted: "page" or "crop"."""
        return "crop" if self.drawn or self.format in CROP_FORMATS else "page"

    def page_config(self) -> SynthConfig:
        """Returns the configuration of the pages.

        Raises:
            ConfigError: a change of a setting that does not exist or cannot have this value.
        """
        config = preset(
            self.preset,
            split=self.split,
            fonts=self.fonts,
            without_weights=self.without_weights,
            bundled_fonts=self.bundled_fonts,
            backgrounds=self.backgrounds,
        )
        if self.words:
            config = replace(config, text=own_texts(config.text, self.words))
        return changed(config, self.changes)

    def word_config(self, problems: dict[str, str] | None = None) -> WordConfig:
        """Returns the configuration of words that are drawn one by one.

        Args:
            problems: gets path and reason of fonts that cannot be used.

        Raises:
            ConfigError: as `page_config`.
            FontError: no font is left.
        """
        found: tuple[Font, ...] = bundled_fonts() if self.bundled_fonts else ()
        if self.fonts:
            own, bad = find_fonts(self.fonts)
            found += own
            if problems is not None:
                problems.update(bad)
        fonts = select(found, split=self.split, without_weights=self.without_weights)
        config = WordConfig(height=self.crop_height, fonts=fonts)
        if self.words:
            config = replace(config, text=own_texts(config.text, self.words))
        return changed(config, self.changes)


def own_texts(config: TextConfig, path: str) -> TextConfig:
    """Returns the configuration with the lines of a file as its only source."""
    return replace(config, sources={"file": 1.0}, file=path)


def changed(config: Any, changes: Sequence[tuple[str, str]]) -> Any:
    """Changes settings by name.

    Args:
        config: a dataclass.
        changes: pairs of a name, dotted for settings within settings (`text.max_length`), and a
            value: a Python literal, or a text that is none. A `Chance` is written as
            `(probability, low, high)`.

    Raises:
        ConfigError: a name that does not exist, or a value that cannot be.
    """
    return _changed(config, "", [(name.split("."), text) for name, text in changes])


def _changed(config: Any, prefix: str, changes: Sequence[tuple[list[str], str]]) -> Any:
    known = [f.name for f in fields(config) if f.init] if is_dataclass(config) else []
    for parts, _ in changes:
        if parts[0] not in known:
            name = prefix + ".".join(parts)
            raise ConfigError(f"unknown setting {name!r}; known here are {', '.join(known)}")
    values = {}
    for field_ in dict.fromkeys(parts[0] for parts, _ in changes):
        value = getattr(config, field_)
        name = prefix + field_
        for text in [text for parts, text in changes if parts == [field_]]:
            value = _value(name, value, text)
        if inner := [(p[1:], text) for p, text in changes if p[0] == field_ and len(p) > 1]:
            value = _changed(value, name + ".", inner)
        values[field_] = value
    try:
        return replace(config, **values) if values else config  # at once: one may need another
    except ConfigError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{', '.join(prefix + name for name in values)}: {error}") from error


def _value(name: str, now: Any, text: str) -> Any:
    """Reads the new value of a setting."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    if isinstance(now, Chance):
        try:
            return Chance(*value)
        except TypeError as error:
            raise ConfigError(f"{name} is {text}, expected (probability, low, high)") from error
    if is_dataclass(now):
        raise ConfigError(f"{name} is {text!r}, expected a setting within it, as {name}.NAME")
    if isinstance(now, str | None) and value is not None:
        return text
    return value


def crop_sample(crop: WordCrop) -> Sample:
    """A drawn word as a page of one word, whose quad is that around its characters."""
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
    """Samples as they are written, and what went wrong on the way.

    Attributes:
        samples: bytes of a picture file and a page, or a text.
        undrawable: how often a text was given up because no font has this character.
        problems: path to reason, of fonts and pictures that cannot be used.
    """

    samples: list[tuple[bytes, Page | str]] = field(default_factory=list)
    undrawable: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)


class Maker:
    """Makes the samples of a job, by index.

    Args:
        job: what to make.

    Raises:
        ConfigError: settings that cannot be.
        FontError: no font is left.
        TextError: texts that cannot be.
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
        """Returns a sample with its picture as it is drawn, and for a crop a page of one word."""
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
        """Makes samples of these indices as they are written."""
        out = Made()
        for index in indices:
            sample = self.sample(index)
            image = encode_image(sample.image, suffix=self.job.suffix, quality=self.job.quality)
            label: Page | str = sample.page
            if self.job.format in CROP_FORMATS:
                label = sample.page.words[0].text or ""
            out.samples.append((image, label))
        out.undrawable.update(self._undrawable)
        self._undrawable.clear()
        out.problems = dict(self._problems)
        return out


@dataclass
class Summary:
    """How far a set is.

    Attributes:
        done: samples written, by this run and those before it.
        undrawable: as of `Made`, of all runs.
        problems: as of `Made`, of all runs.
        finished: whether nothing is left to do.
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
    """Makes a data set, or what is missing of it.

    Args:
        job: what to make.
        folder: for the set: new, empty, or of an earlier run of the same job.
        workers: processes to use; 0: this one.
        progress: gets the number of samples that are written, now and then.

    Returns:
        What was done.

    Raises:
        ConfigError: the folder holds something else, or `workers` is negative.
        SynthError: a worker ended, or no text can be drawn.
        OSError: a file cannot be written.
    """
    if workers < 0:
        raise ConfigError(f"workers is {workers}, expected 0 or more")
    folder = Path(folder)
    maker = Maker(job)  # refuses a bad job before anything is written
    arguments = _arguments(job, maker)
    summary = _resume(folder, arguments)
    progress(summary.done)
    if summary.finished:
        return summary
    folder.mkdir(parents=True, exist_ok=True)
    _note(folder, arguments, summary)
    writer = open_writer(
        job.format,
        folder,
        count=job.count,
        shard=job.shard,
        suffix=job.suffix,
        done=summary.done,
    )
    index = summary.done
    with closing(writer), closing(_made(maker, _tasks(job, index), workers)) as results:
        for made in results:
            for image, label in made.samples:
                writer.add(index, image, label)
                index += 1
            summary.undrawable += made.undrawable
            summary.problems |= made.problems
            progress(index)
            if index % job.shard == 0 or index == job.count:
                writer.commit()
                summary.done = index
                _note(folder, arguments, summary)
        writer.finish()
    summary.finished = True
    _note(folder, arguments, summary)
    return summary


def _tasks(job: Job, start: int) -> Iterator[range]:
    """Yields what is made at once; no task crosses the border of a shard."""
    step = _PAGES_A_TASK if job.unit == "page" else _CROPS_A_TASK
    while start < job.count:
        stop = min(start + step, (start // job.shard + 1) * job.shard, job.count)
        yield range(start, stop)
        start = stop


def _made(maker: Maker, tasks: Iterator[range], workers: int) -> Generator[Made, None, None]:
    """Yields what is made, in the order of the tasks."""
    if workers == 0:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(0)
        try:
            yield from map(maker.make, tasks)
        finally:
            cv2.setNumThreads(threads)
        return
    # Spawned, not forked: OpenCV and JAX have threads. One pipe a worker and tasks in turn: results
    # come in order, nothing piles up, and a worker that dies is noticed.
    context = multiprocessing.get_context("spawn")
    connections: list[Connection] = []
    processes = []
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, maker.job), daemon=True)
            process.start()
            theirs.close()
            connections.append(ours)
            processes.append(process)
        waiting: deque[Connection] = deque()
        for task, connection in zip(islice(tasks, 2 * workers), cycle(connections), strict=False):
            connection.send(task)
            waiting.append(connection)
        while waiting:
            connection = waiting.popleft()
            try:
                made = connection.recv()
                if isinstance(made, Exception):
                    raise made
                if (following := next(tasks, None)) is not None:
                    connection.send(following)
                    waiting.append(connection)
            except (EOFError, ConnectionError) as error:
                raise SynthError(
                    "a worker ended without a word: killed, perhaps for want of memory; the same "
                    "command continues, with fewer --workers if need be"
                ) from error
            yield made
    finally:
        for process in processes:
            process.terminate()
        for process, connection in zip(processes, connections, strict=True):
            connection.close()
            process.join()


def _work(connection: Connection, job: Job) -> None:
    """Makes what the pipe asks for, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends us
    cv2.setNumThreads(0)
    answer: Made | Exception
    try:
        maker: Maker | None = None
        while True:
            task = connection.recv()
            try:
                maker = maker or Maker(job)
                answer = maker.make(task)
            except (TextError, ConfigError, SynthError, OSError) as error:
                answer = error
            except Exception:
                answer = SynthError(f"sample {task}: {traceback.format_exc()}")
            connection.send(answer)
    except (EOFError, ConnectionError):
        pass


def _arguments(job: Job, maker: Maker) -> dict[str, Any]:
    """What must not change between the runs of a set, as JSON has it."""
    arguments = {k: v for k, v in asdict(job).items() if k not in ("fonts", "backgrounds", "words")}
    arguments["fonts"] = _digest([(font.path, font.index) for font in maker.fonts])
    arguments["backgrounds"] = _digest([(str(path), 0) for path in maker.pictures])
    arguments["words"] = _digest([(job.words, 0)] if job.words else [])
    return dict(json.loads(json.dumps(arguments)))


def _digest(files: list[tuple[str, int]]) -> str:
    """Describes files by name and size, wherever they lie."""
    known = [(Path(path).name, Path(path).stat().st_size, index) for path, index in files]
    short = hashlib.blake2b(json.dumps(known).encode(), digest_size=8).hexdigest()
    return f"{len(files)} files, {short}" if files else "none"


def _resume(folder: Path, arguments: dict[str, Any]) -> Summary:
    """Reads how far an earlier run came.

    Raises:
        ConfigError: the folder holds a set of another job, or no set.
    """
    path = folder / MANIFEST
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(
                f"{folder}: holds something already, and no {MANIFEST} of an earlier run: give a "
                "new or empty folder"
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
        lines = "; ".join(f"{k} was {before.get(k)}, is {arguments.get(k)}" for k in differ)
        raise ConfigError(
            f"{folder}: an earlier run made another set here: {lines}. Give the same arguments to "
            "continue it, or another folder"
        )
    return summary


def _note(folder: Path, arguments: dict[str, Any], summary: Summary) -> None:
    value = {
        "arguments": arguments,
        "done": summary.done,
        "finished": summary.finished,
        "undrawable": dict(summary.undrawable),
        "problems": summary.problems,
    }
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    write_bytes(folder / MANIFEST, text.encode("utf-8"))


def samples(job: Job, count: int) -> list[Sample]:
    """Makes the first samples of a job, to be looked at."""
    maker = Maker(job)
    return [maker.sample(index) for index in range(count)]
