"""Packs data sets into several ArrayRecord files: parallel, resumable and deterministic.

The layout of a packed folder is documented in `ocrcore.data.readers.packed`, which reads it.
Image files are kept byte for byte. Each process packs whole files. A file gets its final name
when it is complete and counts once its note is written, so a killed run loses only the files in
progress. Machines that share a folder pack a share of the files each; then one of them merges: it
checks that all files are complete, and writes the description of the set.

TensorFlow Datasets packs examples one by one in a single process and starts over when it is
killed; here its format is written without it. `python -m craftjax.main --mode=pack` packs what an
experiment trains on, because its config already describes its data sets; the builders in `data/`
call the same function.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from array_record.python.array_record_module import ArrayRecordWriter

from ocrcore.data.processes import bounded_workers, one_opencv_thread, worker_pool
from ocrcore.data.readers.packed import (
    FORM,
    describe_fault,
    encode_packed,
    fault_reason,
    shard_name,
)
from ocrcore.data.shards import Shard, ShardError, Spread, describe_missing
from ocrcore.files import replacing, system_errors, write_bytes, write_json
from ocrcore.images import ImageError, encode_image
from ocrcore.outputs import OutputError, check_outputs
from ocrcore.pages import LabelError, Page, PageError
from ocrcore.progress import shown
from ocrcore.synth.pages import PageSource

VERSION = "1.0.0"
"""Version of packed sets, as TensorFlow Datasets counts them."""
_FILES, _LEAST, _MOST = 32, 32, 2000  # target number of files; samples per file: min, max
_EACH = 4  # minimum files per worker, because starting a worker takes seconds


class PackingError(ValueError):
    """A data set that cannot be packed; the message says why."""


class Source(Protocol):
    """A data set, by index."""

    def __len__(self) -> int:
        """How many samples there are."""

    def encoded(self, index: int) -> tuple[bytes, Page]:
        """The encoded image and the labels of a sample."""

    def name(self, index: int) -> str:
        """The path of an image; empty for a generated one."""

    def label_files(self, index: int) -> tuple[Path, ...]:
        """The label files of this image, including files shared with other images."""


class DrawnPages:
    """Synthetic pages as PNG files, so that the stored pixels are exactly the drawn ones."""

    def __init__(self, pages: PageSource) -> None:
        self.pages = pages

    def __len__(self) -> int:
        return len(self.pages)

    def name(self, index: int) -> str:
        """Return an empty string: a generated page has no file."""
        return ""

    def label_files(self, index: int) -> tuple[Path, ...]:
        """Return nothing: a generated page has no label file."""
        return ()

    def encoded(self, index: int) -> tuple[bytes, Page]:
        """Draw a page and encode it."""
        sample = self.pages[index]
        return encode_image(sample.image, suffix=".png"), sample.page


@dataclass(frozen=True)
class Packed:
    """What a split of a packed data set holds.

    Attributes:
        name: name of the set.
        split: name of the split.
        records: number of records in each file.
        size: total size of the files, in bytes.
        faults: number of samples that could not be packed, by reason.
    """

    name: str
    split: str
    records: tuple[int, ...]
    size: int
    faults: Mapping[str, int]


def pack(
    open_source: Callable[[], Source],
    folder: str | Path,
    *,
    name: str,
    root: str | Path = "",
    split: str = "train",
    source: Mapping[str, Any] | None = None,
    start: int = 0,
    stop: int | None = None,
    records_per_file: int | None = None,
    workers: int | None = 0,
    shard: Shard | None = None,
    merge: int | None = None,
    spread: Spread | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Packed:
    """Pack a split of a data set, or the part of it that is still missing.

    Args:
        open_source: opens the data set; must be picklable if there are workers.
        folder: the output folder: new, left by an earlier run of the same job, or holding other
            splits of the set.
        name: name of the set: letters, digits and underscores, starting with a lower-case letter.
        root: paths of images are stored relative to this folder.
        split: name of the split.
        source: JSON values that describe what is packed; stored for the reader to compare.
        start: index of the first sample.
        stop: index after the last sample; None packs to the end.
        records_per_file: samples per file; None chooses it from the number of samples.
        workers: number of processes, started by spawning; 0: only this one; None: one per CPU,
            fewer if few files are left to do.
        shard: packs only this share of the files; the set is left to be merged.
        merge: number of shares to merge; packs nothing.
        spread: packs the files elsewhere, in place of `workers`: `ocrcore.data.beam.beam_spread`.
        progress: called from time to time with the number of finished samples and the total.

    Returns:
        The content of the set, or with `shard` of this share.

    Raises:
        OutputError: files of something else would be replaced, or the folder cannot be written.
        ShardError: shares to be merged are not complete.
        PackingError: invalid settings, a folder that holds something else, or a worker that died.
        LabelError: the data set cannot be read; faults of single samples are recorded instead.
        OSError: a file cannot be read or written.
    """
    folder, root = Path(folder), Path(root)
    if (workers or 0) < 0 or (records_per_file is not None and records_per_file < 1):
        raise PackingError(
            f"workers={workers}, records_per_file={records_per_file}: expected workers >= 0, "
            "records_per_file >= 1"
        )
    if not (name.isidentifier() and name == name.lower() and split.isalpha()):
        raise PackingError(f"name {name!r}, split {split!r}: expected letters, as in synthtext")
    opened = open_source()
    end = len(opened) if stop is None else min(stop, len(opened))
    if not 0 <= start < end:
        raise PackingError(f"no samples from start={start} to stop={stop} of {len(opened)}")
    each = records_per_file or min(max((end - start) // _FILES, _LEAST), _MOST)
    ranges = [range(first, min(first + each, end)) for first in range(start, end, each)]
    files = [folder / shard_name(name, split, k, len(ranges)) for k in range(len(ranges))]
    target, notes = folder / f"packed-{split}.json", folder / f"packing-{split}"
    if merge is not None and not (target.is_file() or notes.is_dir()):
        raise ShardError(f"{folder}: no shard has written here")
    if not (target.is_file() or notes.is_dir()):
        # The files that describe the set are shared by its splits.
        others = [*folder.glob("packed-*.json"), *folder.glob("packing-*")]
        shared = () if others else ("features.json", "dataset_info.json")
        new = [*files, folder / f"faults-{split}.jsonl", *(folder / one for one in shared)]
        try:
            check_outputs(new, remedy="nothing was packed: give another folder")
        except OutputError:
            if not (shard and notes.is_dir()):  # of another share, which has just begun
                raise
    job = {
        "form": FORM,
        "name": name,
        "source": json.loads(json.dumps(dict(source or {}))),
        "start": start,
        "stop": end,
        "complete": end == len(opened),
        "shard": each,
        "content": _digest(opened, start, end),
    }
    _check(folder, target if target.is_file() else notes / "job.json", job)
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(notes / "job.json", job)
        digest = hashlib.blake2b(json.dumps(job).encode(), digest_size=8).hexdigest()
        tasks = [
            _Task(file, notes / f"{k}.json", root, one, digest)
            for k, (file, one) in enumerate(zip(files, ranges, strict=True))
        ]
        mine = tasks if shard is None else shard.take(tasks)
        if merge is None:
            _pack_all(open_source, opened, mine, workers, spread, progress)
        if shard is not None:
            return _packed(name, split, [task.read() for task in mine])
        if missing := {k: fault for k, task in enumerate(tasks) if (fault := task.fault())}:
            if merge is None:
                raise PackingError(f"{next(iter(missing.values()))}: the same command goes on")
            raise ShardError(f"{folder}: {describe_missing(missing, merge)}")
        _finish(folder, split, job, [task.read() for task in tasks])
    shutil.rmtree(notes, ignore_errors=True)
    for part in (
        folder.glob(f"{name}-{split}.*.part") if merge is not None else ()
    ):  # of killed processes
        part.unlink(missing_ok=True)
    done = json.loads(target.read_bytes())
    if not sum(done["records"]):
        first = (folder / f"faults-{split}.jsonl").read_text(encoding="utf-8").partition("\n")[0]
        raise PackingError(
            f"{folder}: none of {end - start:,} samples could be packed; the first fault: "
            f"{first}. Fix the data set, delete this folder, and pack again"
        )
    return Packed(name, split, tuple(done["records"]), done["size"], done["faults"])


@dataclass(frozen=True)
class _Task:
    """A file to pack.

    Attributes:
        path: the file of records.
        note: file that marks it as done and describes its content.
        root: as for `pack`.
        samples: indices of the samples in this file.
        job: digest of the whole packing job.
    """

    path: Path
    note: Path
    root: Path
    samples: range
    job: str

    def read(self) -> dict[str, Any]:
        """Return the note."""
        return dict(json.loads(self.note.read_bytes()))

    def fault(self) -> str:
        """Return why the file is not done; empty if it is."""
        try:
            note = self.read()
            if note["job"] != self.job:
                return f"{self.note}: of another data set"
            if (size := self.path.stat().st_size) != note["size"]:
                return f"{self.path}: has {size} bytes, {note['size']} were written"
        except FileNotFoundError as error:
            return f"{error.filename}: not there"
        except (ValueError, KeyError, TypeError) as error:
            return f"{self.note}: not a note of what was packed: {error!r}"
        return ""


def _pack_file(source: Source, task: _Task) -> int:
    """Pack one file; return the number of its samples."""
    faults = []
    # One record per group makes single records readable. Images do not compress further.
    with (
        system_errors(task.path),
        replacing(task.path) as part,
        closing(ArrayRecordWriter(str(part), "group_size:1,uncompressed")) as writer,
    ):
        for index in task.samples:
            name = source.name(index)
            path = _below(task.root, name) if name else ""
            try:
                image, page = source.encoded(index)
                record = encode_packed(image, page, path)
            except (LabelError, ImageError, PageError) as error:
                if not name:  # failing to draw a page is a bug, not a fault of the data
                    raise
                faults.append(describe_fault(index, path, error))
            else:
                writer.write(record)
    note = {"job": task.job, "size": task.path.stat().st_size, "faults": faults}
    write_json(task.note, {"records": len(task.samples) - len(faults), **note})
    return len(task.samples)


def _pack_all(
    open_source: Callable[[], Source],
    opened: Source,
    tasks: Sequence[_Task],
    workers: int | None,
    spread: Spread | None,
    progress: Callable[[int, int], None],
) -> None:
    missing = [task for task in tasks if task.fault()]
    of = sum(len(task.samples) for task in tasks)
    done = of - sum(len(task.samples) for task in missing)
    progress(done, of)
    if spread is not None:
        spread(open_source, _pack_file, missing)
        return
    if workers is None:
        workers = min(os.cpu_count() or 1, len(missing) // _EACH)
        workers = workers if workers > 1 else 0  # a single worker gains nothing
    with _results(open_source, opened, missing, workers) as results:
        for count in results:
            done += count
            progress(done, of)


@contextmanager
def _results(
    open_source: Callable[[], Source], opened: Source, tasks: list[_Task], workers: int
) -> Iterator[Iterator[int]]:
    """Pack files; yield the number of samples of each as it is finished."""
    if not workers or len(tasks) < 2:
        with one_opencv_thread():
            yield (_pack_file(opened, task) for task in tasks)
        return
    with worker_pool(
        open_source,
        bounded_workers(min(workers, len(tasks)), setting="--workers"),
        work="packs samples",
        setting="--workers",
        error=PackingError,
    ) as submit:
        futures = [submit(_pack_file, task) for task in tasks]
        yield (future.result() for future in as_completed(futures))


def _check(folder: Path, path: Path, job: dict[str, Any]) -> None:
    """Check that a folder does not hold something else.

    Raises:
        PackingError: the folder was packed with other settings or from other data.
    """
    if not path.is_file():
        return
    try:
        before = dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise PackingError(f"{path}: not a note of an earlier run: {error}") from error
    if differ := [key for key in job if before.get(key) != job[key]]:
        lines = "; ".join(f"{key} was {before.get(key)}, now {job[key]}" for key in differ)
        raise PackingError(
            f"{folder}: an earlier run packed something else here: {lines}. Give another "
            "folder, or delete this one"
        )


def _finish(folder: Path, split: str, job: dict[str, Any], notes: list[dict[str, Any]]) -> None:
    """Write the descriptions of the set; `packed-SPLIT.json`, which marks it complete, is last."""
    faults = [fault for note in notes for fault in note["faults"]]
    lines = "".join(json.dumps(fault) + "\n" for fault in faults)
    write_bytes(folder / f"faults-{split}.jsonl", lines.encode())
    done = _packed(job["name"], split, notes)
    others = []
    for path in sorted(folder.glob("packed-*.json")):
        found = json.loads(path.read_bytes())
        others.append(Packed(**{key: found[key] for key in asdict(done)}))
    write_json(folder / "features.json", FEATURES)
    write_json(folder / "dataset_info.json", dataset_info([*others, done]))
    write_json(folder / f"packed-{split}.json", {**job, **asdict(done)})


def _packed(name: str, split: str, notes: list[dict[str, Any]]) -> Packed:
    """Return the content of files, from their notes."""
    reasons = Counter(fault_reason(fault) for note in notes for fault in note["faults"])
    records = tuple(note["records"] for note in notes)
    return Packed(name, split, records, sum(note["size"] for note in notes), dict(reasons))


def _digest(source: Source, start: int, stop: int) -> str:
    """Hash the names of the images, in order, and the content of their label files."""
    digest = hashlib.blake2b(digest_size=8)
    known: dict[Path, bytes] = {}  # one file may hold the labels of all images
    if source.name(start):  # generated images have no names
        for index in shown(range(start, stop), "checking what to pack", unit="sample"):
            digest.update(Path(source.name(index)).name.encode("utf-8", "surrogatepass") + b"\n")
            for path in source.label_files(index):
                if path not in known:
                    with path.open("rb") as file:
                        known[path] = hashlib.file_digest(file, "blake2b").digest()
                digest.update(known[path])
    return digest.hexdigest()


def _below(root: Path, name: str) -> str:
    path = Path(name)
    return str(path.relative_to(root)) if path.is_relative_to(root) else name


def dataset_info(splits: list[Packed]) -> dict[str, Any]:
    """Return `dataset_info.json` as TensorFlow Datasets reads it."""
    return {
        "name": splits[0].name,
        "version": VERSION,
        "fileFormat": "array_record",
        "splits": [
            {
                "name": one.split,
                "shardLengths": [str(count) for count in one.records],
                "numBytes": str(one.size),
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
            for one in sorted(splits, key=lambda one: one.split)
        ],
    }


def _feature(kind: str, **values: Any) -> dict[str, Any]:
    module = {"FeaturesDict": "features_dict"}.get(kind, f"{kind.lower()}_feature")
    return {"pythonClassName": f"tensorflow_datasets.core.features.{module}.{kind}", **values}


def _tensor(dtype: str, *sides: int) -> dict[str, Any]:
    shape = {"dimensions": [str(side) for side in sides]} if sides else {}
    return _feature("Tensor", tensor={"dtype": dtype, "encoding": "none", "shape": shape})


def _sequence(**features: Any) -> dict[str, Any]:
    each = _feature("FeaturesDict", featuresDict={"features": features})
    return _feature("Sequence", sequence={"feature": each, "length": "-1"})


_TEXT = _feature("Text", text={})
FEATURES = _feature(
    "FeaturesDict",
    featuresDict={
        "features": {
            "image": _feature(
                "Image",
                image={"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}},
            ),
            "path": _TEXT,
            "words": _sequence(
                quad=_tensor("float32", 4, 2),
                text=_TEXT,
                has_text=_tensor("bool"),
                care=_tensor("bool"),
                line=_tensor("int64"),
                points=_tensor("int64"),
            ),
            "points": _tensor("float32", -1, 2),
            "characters": _sequence(
                quad=_tensor("float32", 4, 2), text=_TEXT, word=_tensor("int64")
            ),
        }
    },
)
"""`features.json` as TensorFlow Datasets reads it."""
