"""Synthetic data sets made by several machines, piece by piece, in one folder.

A piece is what `ocrcore.synth.make.make_set` commits at once: `records_per_file` samples. Its files
do not depend on the machine that makes it, and are renamed to their final names when complete.
Making a piece twice, even at the same time, therefore does no harm. Until `merge_set` joins the
pieces, `synth-parts/` in the folder of the set holds:

* `job.json`: everything the set is a function of, including the versions of the drawing libraries;
* `NNNNNNN.json`: marks a piece as complete, with the total size of its files;
* `NNNNNNN.jsonl`, `NNNNNNN.crops`: labels, and crops for an LMDB, to be joined into one file.

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
        folder: folder of the set.
        digest: digest of everything the set is a function of.
    """

    job: Job
    folder: Path
    digest: str

    def __len__(self) -> int:
        return -(-self.job.count // self.job.records_per_file)

    @property
    def notes(self) -> Path:
        """The folder of the notes, and of files to be joined at the end."""
        return self.folder / NOTES

    def samples(self, piece: int) -> range:
        """Return the sample indices of a piece."""
        size = self.job.records_per_file
        return range(piece * size, min((piece + 1) * size, self.job.count))

    def files(self, piece: int) -> list[Path]:
        """Return the files of a piece."""
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
        """Return the path of the note that marks a piece as complete."""
        return self.notes / f"{piece:07d}.json"

    def read(self, piece: int) -> Summary:
        """Read the note of a complete piece.

        Raises:
            ShardError: the piece is incomplete; the message says why.
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
        """Return the incomplete pieces, with the reasons."""
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
        """Write a piece; it counts as complete only once its note is written.

        Args:
            piece: index of the piece.
            made: samples of the piece, in order.
            progress: called from time to time with the number of samples written.

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
    """Open the folder of a set that is made in pieces, and record the job there.

    Args:
        maker: maker of the job.
        folder: output folder.

    Returns:
        The pieces, and the progress of the whole set, which may be finished.

    Raises:
        ConfigError: the folder holds something else.
    """
    folder, arguments = Path(folder), arguments_of(maker)
    if maker.job.format == "crops-lmdb":
        import_lmdb()  # needed at the end; fail now if it is missing
    job = {"arguments": arguments, "versions": _versions()}
    digest = hashlib.blake2b(json.dumps(job).encode(), digest_size=8).hexdigest()
    pieces = Pieces(maker.job, folder, digest)
    path = pieces.notes / "job.json"
    # Another shard may be starting: its folder may exist before its note does.
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
    """Make one shard of a data set, or the missing part of it.

    Args:
        job: job of the whole set.
        folder: output folder: shared with the other shards, or to be merged with theirs by copying.
        shard: the shard to make.
        workers: as for `ocrcore.synth.make.make_set`.
        spread: makes the pieces elsewhere, instead of `workers`; see
            `ocrcore.data.beam.beam_spread`.
        progress: called from time to time with the number of samples done, and of all in this
            shard.

    Returns:
        The progress of this shard.

    Raises:
        ConfigError, SynthError, OSError: as for `ocrcore.synth.make.make_set`.
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
    """Make a piece, on any machine."""
    pieces, piece = task
    pieces.write(piece, map(maker.make, tasks_of(pieces.job, pieces.samples(piece))))


def merge_set(job: Job, folder: str | Path, shards: int) -> Summary:
    """Merge the shards of a data set; the result has the files of a single run.

    It can be repeated after it was killed.

    Args:
        job: job of the set.
        folder: folder with the files of all shards.
        shards: number of shards, to name the incomplete ones.

    Raises:
        ConfigError: the folder holds something else.
        ShardError: shards are incomplete; no file was changed.
        OSError: a file cannot be written.
    """
    folder, maker = Path(folder), Maker(job)
    if not (folder / NOTES / "job.json").exists() and not (folder / MANIFEST).exists():
        raise ShardError(f"{folder}: no shard has written here")
    pieces, summary = open_pieces(maker, folder)
    if not summary.finished:
        summary = join_pieces(pieces, arguments_of(maker), shards=shards)
    shutil.rmtree(pieces.notes, ignore_errors=True)
    for part in list(folder.rglob("*.part")):  # left by killed processes
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
    return summary


def join_pieces(pieces: Pieces, arguments: dict[str, Any], *, shards: int) -> Summary:
    """Write the files that need all pieces; `synth.json`, which marks them as complete, comes last.

    Args:
        pieces: the pieces.
        arguments: arguments of the job, for `synth.json`.
        shards: as for `merge_set`.

    Raises:
        ShardError: as for `merge_set`.
        OSError: as for `merge_set`.
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
    """Return the versions of the drawing libraries, on which the result depends."""
    return {"numpy": np.__version__, "opencv": cv2.__version__, "pillow": PIL.__version__}
