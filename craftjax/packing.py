"""Pack the data sets of an experiment, for `config.data.format=packed`.

Host code: no jax.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from craftjax.config import check
from craftjax.input_pipeline import InputOptions
from craftjax.sources import SourceOptions, open_source
from ocrcore.data.packing import DrawnPages, Packed, PackingError, pack
from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.data.readers.skipped_files import unused_files
from ocrcore.data.shards import Shard, Spread
from ocrcore.progress import Progress
from ocrcore.synth.pages import PageSource


def pack_source(
    options: SourceOptions,
    folder: str | Path,
    *,
    name: str,
    seed: int = 0,
    cache: str | Path | None = None,
    split: str = "train",
    workers: int | None = 0,
    shard: Shard | None = None,
    merge: int | None = None,
    spread: Spread | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Packed:
    """Pack one data set, from `start` to `stop` of its options.

    Args:
        options: options of the data set.
        folder: folder to write.
        name: as for `ocrcore.data.packing.pack`.
        seed: seed of the run that will train on it.
        cache: folder for indices of data sets; None is the user's cache folder.
        split: as for `ocrcore.data.packing.pack`.
        workers: as for `ocrcore.data.packing.pack`, and so are the others.
        shard: which share of the files.
        merge: of how many shares.
        spread: how files are packed elsewhere.
        progress: gets what is done.

    Raises:
        PackingError: synthetic pages without `stop`, or what `ocrcore.data.packing.pack` refuses.
        LabelError: an unreadable data set.
    """
    if options.kind == "pages" and options.stop is None:
        raise PackingError(
            f"{name}: synthetic pages are endless: set stop, the number of pages to pack"
        )
    return pack(
        partial(_opened, options, seed, cache),
        folder,
        name=name,
        root=options.path,
        split=split,
        source=options.content(seed),
        start=options.start,
        stop=options.stop,
        workers=workers,
        shard=shard,
        merge=merge,
        spread=spread,
        progress=progress,
    )


def pack_all(
    options: InputOptions,
    *,
    seed: int,
    workers: int | None = 0,
    shard: Shard | None = None,
    merge: int | None = None,
    spread: Spread | None = None,
    progress: Callable[[str, int, int], None] = lambda name, done, of: None,
) -> dict[str, Packed | None]:
    """Pack the data sets of an experiment, each to its `packed_folder`.

    Args:
        options: options of the experiment.
        seed: seed of the experiment.
        workers: as for `ocrcore.data.packing.pack`, and so are the others.
        shard: which share of the files.
        merge: of how many shares.
        spread: how files are packed elsewhere.
        progress: called with the name of a data set, the number of samples done, and their total.

    Returns:
        The packed data set of each, by name; None for those that are not packed: "arrayrecord", and
        pages without a folder in `packed`.

    Raises:
        PackingError: as for `pack_source`.
        LabelError: an unreadable data set.
    """
    done: dict[str, Packed | None] = {}
    for name, one in options.train.items():
        done[name] = None
        if one.packed_folder is not None:
            done[name] = pack_source(
                one,
                one.packed_folder,
                name=re.sub(r"\W", "_", name.lower()),
                seed=seed,
                cache=options.cache,
                workers=workers,
                shard=shard,
                merge=merge,
                spread=spread,
                progress=partial(progress, name),
            )
    return done


def pack_experiment(
    config: Mapping[str, Any],
    *,
    workers: int | None = None,
    shard: Shard | None = None,
    merge: int | None = None,
    spread: Spread | None = None,
) -> None:
    """Pack the data sets of an experiment and print the results: the mode `pack`.

    Args:
        config: a config as for `InputOptions.from_config`, with its `seed`.
        workers: worker processes; 0: this process; None: one per CPU, fewer for small sets.
        shard: packs only this share of the files of each set.
        merge: number of shares to join; packs nothing.
        spread: has files packed elsewhere, in place of `workers`.

    Raises:
        ValueError: (subclasses) as for `pack_all`.
    """
    check(config)
    options = InputOptions.from_config(config)
    with Progress("packing", unit="sample") as progress:
        packed = pack_all(
            options,
            seed=config["seed"],
            workers=workers,
            shard=shard,
            merge=merge,
            spread=spread,
            progress=lambda name, done, of: progress.update(done, of, task=f"packing {name}"),
        )
    for name, one in packed.items():
        if one is None:
            print(f"{name}: not packed ({options.train[name].kind})")
            continue
        share = "" if shard is None else f"shard {shard}: "
        faults = "".join(f", {count} left out ({reason})" for reason, count in one.faults.items())
        print(
            f"{name}: {share}{sum(one.records):,} samples, {one.size / 1e6:,.1f} MB in "
            f"{len(one.records)} files{faults}; in {options.train[name].packed_folder}"
        )
        if shard is not None:
            continue
        opened = open_source(options.train[name], seed=config["seed"], cache=options.cache)
        if isinstance(opened, PhotoFolder):
            for note in unused_files(opened):
                print(f"{name}: {note}")
    if shard is not None:
        print(f"when all shards are done, run this with --merge={shard.count} instead of --shard")
        return
    print("train on them with --config.data.format=packed")


def _opened(options: SourceOptions, seed: int, cache: str | Path | None) -> Any:
    source = open_source(options, seed=seed, cache=cache)
    return DrawnPages(source) if isinstance(source, PageSource) else source
