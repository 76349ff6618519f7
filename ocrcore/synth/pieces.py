"""Data sets of synthetic text made by several machines, piece by piece, in one folder.

A piece is what `ocrcore.synth.make.make_set` commits at once: `records_per_file` samples. Whoever
makes it, its files are the same, and each gets its name when it is complete; so a piece that is
made twice, even at the same time, does no harm. `synth-parts/` in the folder of the set holds,
until `merge_set` joins them,

* `job.json`: what the set is a function of, and which versions of the libraries draw it;
* `NNNNNNN.json`: that a piece is complete, and the size of its files;
* `NNNNNNN.jsonl`, `NNNNNNN.crops`: labels, and crops for an LMDB, which end up in one file.

Host code: no jax.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import numpy as np
import PIL
from array_record.python.array_record_module import ArrayRecordReader

from ocrcore.data.processes import bounded_workers
from ocrcore.data.readers.crops import CSV_NAME, import_lmdb
from ocrcore.data.shards import Shard, ShardError, Spread, describe_missing
from ocrcore.files import replacing, write_json
from ocrcore.synth.config import ConfigError
from ocrcore.synth.job import Job
from ocrcore.synth.make import (
    MANIFEST,
    Made,
    Maker,
    Summary,
    arguments_of,
    make_tasks,
    read_note,
    tasks_of,
    write_note,
)
from ocrcore.synth.write import (
    PAGES,
    CropPiece,
    CsvWriter,
    IcdarWriter,
    LmdbWriter,
    RecordWriter,
    SynthTextWriter,
    Writer,
    records_name,
)

NOTES = "synth-parts"


@dataclass(frozen=True)
class Pieces:
    """The pieces of a set; picklable.

    Attributes:
        job: what to make.
        folder: of the set.
        digest: of all that the set is a function of.
    """

    job: Job
    folder: Path
    digest: str

    def __len__(self) -> int:
        return -(-self.job.count // self.job.records_per_file)

    @property
    def notes(self) -> Path:
        """The folder of what is joined at the end."""
        return self.folder / NOTES

    def samples(self, piece: int) -> range:
        """Returns the indices of the samples of a piece."""
        size = self.job.records_per_file
        return range(piece * size, min((piece + 1) * size, self.job.count))

    def files(self, piece: int) -> list[Path]:
        """Returns the files that a piece consists of."""
        kind, suffix, indices = self.job.format, self.job.suffix, self.samples(piece)
        if kind == "arrayrecord":
            names = [records_name(piece, len(self))]
        elif kind == "crops-lmdb":
            names = [f"{NOTES}/{piece:07d}.crops"]
        elif kind == "crops-csv":
            folder = f"{indices[0]:07d}"
            names = [f"{folder}/{CSV_NAME}", *(f"{folder}/{i:07d}{suffix}" for i in indices)]
        elif kind == "icdar":
            names = [f"images/{i:07d}{suffix}" for i in indices]
            names += [f"gt/gt_{i:07d}.txt" for i in indices]
            names.append(f"{NOTES}/{piece:07d}.jsonl")
        else:
            names = [f"images/{i // 1000:04d}/{i:07d}{suffix}" for i in indices]
            names.append(f"{NOTES}/{piece:07d}.jsonl")
        return [self.folder / name for name in names]

    def note(self, piece: int) -> Path:
        """Returns the file that says that a piece is complete."""
        return self.notes / f"{piece:07d}.json"

    def read(self, piece: int) -> Summary:
        """Returns what was noted of a complete piece.

        Raises:
            ShardError: it is not complete; says why.
        """
        path, size = self.note(piece), 0
        try:
            found = json.loads(path.read_bytes())
            if found["digest"] != self.digest:
                raise ShardError(f"{path}: made with other arguments or versions")
            for file in self.files(piece):
                size += file.stat().st_size
            if size != found["size"]:
                raise ShardError(f"{path}: {found['size']} bytes were written, there are {size}")
            undrawable = Counter({str(k): int(v) for k, v in found["undrawable"].items()})
            problems = {str(k): str(v) for k, v in found["problems"].items()}
        except FileNotFoundError as error:
            raise ShardError(f"{error.filename}: not there") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ShardError):
                raise
            raise ShardError(f"{path}: not a note of a piece: {error!r}") from error
        return Summary(len(self.samples(piece)), undrawable, problems, finished=True)

    def missing(self, pieces: Iterable[int]) -> dict[int, str]:
        """Returns the pieces that are not complete, and why."""
        found = {}
        for piece in pieces:
            try:
                self.read(piece)
            except ShardError as error:
                found[piece] = str(error)
        return found

    def write(
        self, piece: int, made: Iterable[Made], progress: Callable[[int], None] = lambda _: None
    ) -> None:
        """Writes a piece, all or nothing.

        Args:
            piece: which.
            made: its samples, in order.
            progress: gets the number of samples that are written of it, now and then.

        Raises:
            OSError: a file cannot be written.
        """
        if self.job.format == "crops-csv" and self.note(piece).exists():  # damaged: begin again
            shutil.rmtree(self.files(piece)[0].parent, ignore_errors=True)
        undrawable: Counter[str] = Counter()
        problems: dict[str, str] = {}
        indices = iter(self.samples(piece))
        first = done = self.samples(piece).start
        with closing(self._writer(piece)) as writer:
            for one in made:
                for image, label in one.samples:
                    done = next(indices)
                    writer.add(done, image, label)
                undrawable += one.undrawable
                problems |= one.problems
                progress(done + 1 - first)
            writer.commit()
        note = {
            "digest": self.digest,
            "size": sum(path.stat().st_size for path in self.files(piece)),
            "undrawable": dict(undrawable),
            "problems": problems,
        }
        write_json(self.note(piece), note)

    def _writer(self, piece: int) -> Writer:
        job, attempt = self.job, f".{uuid4().hex[:12]}"
        lines = self.notes / f"{piece:07d}.jsonl"
        if job.format == "icdar":
            return IcdarWriter(self.folder, suffix=job.suffix, lines=lines)
        if job.format == "synthtext":
            return SynthTextWriter(self.folder, suffix=job.suffix, lines=lines)
        if job.format == "crops-lmdb":
            return CropPiece(lines.with_suffix(".crops"), attempt)
        if job.format == "crops-csv":
            return CsvWriter(self.folder, suffix=job.suffix, attempt=attempt)
        size = job.records_per_file
        return RecordWriter(self.folder, count=job.count, records_per_file=size, attempt=attempt)


def open_pieces(maker: Maker, folder: str | Path) -> tuple[Pieces, Summary]:
    """Opens the folder of a set that is made in pieces; notes there what it is made of.

    Returns:
        The pieces, and how far the whole set is: it may be finished.

    Raises:
        ConfigError: the folder holds something else.
    """
    folder, arguments = Path(folder), arguments_of(maker)
    if maker.job.format == "crops-lmdb":
        import_lmdb()  # is needed at the end: better missed now
    job = {"arguments": arguments, "versions": _versions()}
    digest = hashlib.blake2b(json.dumps(job).encode(), digest_size=8).hexdigest()
    pieces = Pieces(maker.job, folder, digest)
    path = pieces.notes / "job.json"
    # Others may start at this moment: their folder may be there, and their note not yet.
    others = folder.exists() and (
        not folder.is_dir() or {p.name for p in folder.iterdir()} - {NOTES}
    )
    if not path.exists():
        summary = read_note(folder, arguments) if others else Summary()
        if others and not summary.finished:
            raise ConfigError(
                f"{folder}: begun by one run for all of it, which goes on without shards: leave "
                "them out, or give another folder"
            )
        if not summary.finished:
            write_json(path, job)
        return pieces, summary
    try:
        found = json.loads(path.read_bytes())
        before = {**found["arguments"], **found["versions"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a note of an earlier run: {error!r}") from error
    now = {**arguments, **_versions()}
    if differ := [k for k in {**before, **now} if before.get(k) != now.get(k)]:
        lines = "; ".join(f"{k} was {before.get(k)}, now {now.get(k)}" for k in differ)
        raise ConfigError(
            f"{folder}: other shards make another set here: {lines}. Give all of them the same "
            "arguments and installation, or another folder"
        )
    return pieces, read_note(folder, arguments) if (folder / MANIFEST).exists() else Summary()


def make_shard(
    job: Job,
    folder: str | Path,
    shard: Shard,
    *,
    workers: int = 0,
    spread: Spread | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Summary:
    """Makes one share of a data set, or what is missing of it.

    Args:
        job: what to make, of all shares together.
        folder: for the set; that of the other shares, or one to be copied over theirs.
        shard: which share.
        workers: as for `ocrcore.synth.make.make_set`.
        spread: has pieces made elsewhere, in place of `workers`: `ocrcore.data.beam.beam_spread`.
        progress: gets how many samples of this share are done, and of how many, now and then.

    Returns:
        What was done of this share.

    Raises:
        ConfigError, SynthError, OSError: as of `ocrcore.synth.make.make_set`.
    """
    if workers < 0:
        raise ConfigError(f"workers is {workers}, expected 0 or more")
    workers = bounded_workers(workers, setting="--workers")
    maker = Maker(job)
    pieces, summary = open_pieces(maker, folder)
    if summary.finished:
        return summary
    mine = shard.take(range(len(pieces)))
    missing = list(pieces.missing(mine))
    of = sum(len(pieces.samples(piece)) for piece in mine)
    done = of - sum(len(pieces.samples(piece)) for piece in missing)
    progress(done, of)
    if spread is not None:
        spread(partial(Maker, job), _make_piece, [(pieces, piece) for piece in missing])
        return _summary([pieces.read(piece) for piece in mine])
    tasks = {piece: list(tasks_of(job, pieces.samples(piece))) for piece in missing}
    with closing(make_tasks(maker, chain.from_iterable(tasks.values()), workers)) as results:
        for piece in missing:

            def report(count: int, before: int = done) -> None:
                progress(before + count, of)

            pieces.write(piece, islice(results, len(tasks[piece])), report)
            done += len(pieces.samples(piece))
    return _summary([pieces.read(piece) for piece in mine])


def _make_piece(maker: Maker, task: tuple[Pieces, int]) -> None:
    """Makes a piece, wherever this is called."""
    pieces, piece = task
    pieces.write(piece, map(maker.make, tasks_of(pieces.job, pieces.samples(piece))))


def merge_set(job: Job, folder: str | Path, shards: int) -> Summary:
    """Joins the shares of a data set: afterwards its files are those of one run.

    It may be repeated when it was killed.

    Args:
        job: what the shares made.
        folder: with the files of all of them.
        shards: how many there are, to name those that are not complete.

    Raises:
        ConfigError: the folder holds something else.
        ShardError: shares are not complete; none of the files was changed.
        OSError: a file cannot be written.
    """
    folder, maker = Path(folder), Maker(job)
    if not (folder / NOTES / "job.json").exists() and not (folder / MANIFEST).exists():
        raise ShardError(f"{folder}: no shard has written here")
    pieces, summary = open_pieces(maker, folder)
    if not summary.finished:
        summary = join_pieces(pieces, arguments_of(maker), shards=shards)
    shutil.rmtree(pieces.notes, ignore_errors=True)
    for part in list(folder.rglob("*.part")):  # of processes that were killed
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
    return summary


def join_pieces(pieces: Pieces, arguments: dict[str, Any], *, shards: int) -> Summary:
    """Writes the files that need all pieces; `synth.json`, which says so, comes last.

    Arguments and errors as of `merge_set`.
    """
    if missing := pieces.missing(range(len(pieces))):
        raise ShardError(f"{pieces.folder}: {describe_missing(missing, shards)}")
    summary = _summary([pieces.read(piece) for piece in range(len(pieces))])
    folder, kind = pieces.folder, pieces.job.format
    lists = [pieces.notes / f"{piece:07d}" for piece in range(len(pieces))]
    if kind in ("icdar", "synthtext"):
        with replacing(folder / PAGES) as part, part.open("wb") as out:
            for one in lists:
                with one.with_suffix(".jsonl").open("rb") as file:
                    shutil.copyfileobj(file, out)
    if kind == "synthtext":
        SynthTextWriter(folder, suffix=pieces.job.suffix, done=pieces.job.count).finish()
    if kind == "crops-lmdb":
        _join_lmdb(pieces, lists)
    write_note(folder, arguments, summary)
    return summary


def _join_lmdb(pieces: Pieces, lists: Sequence[Path]) -> None:
    part = pieces.notes / f"lmdb-{uuid4().hex[:12]}"
    with closing(LmdbWriter(part)) as writer:
        for piece, one in enumerate(lists):
            records = ArrayRecordReader(str(one.with_suffix(".crops"))).read_all()
            for k, index in enumerate(pieces.samples(piece)):
                writer.add(index, records[2 * k], records[2 * k + 1].decode("utf-8"))
            writer.commit()
    for path in part.iterdir():
        path.replace(pieces.folder / path.name)


def _summary(pieces: Sequence[Summary]) -> Summary:
    whole = Summary(finished=True)
    for one in pieces:
        whole.done += one.done
        whole.undrawable += one.undrawable
        whole.problems |= one.problems
    return whole


def _versions() -> dict[str, str]:
    """Versions of the libraries that draw: what is drawn depends on them."""
    return {"numpy": np.__version__, "opencv": cv2.__version__, "pillow": PIL.__version__}
