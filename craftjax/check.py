"""Check of a run's training data before training: drawings of crops, and counts.

Label faults are easiest to see in the crops that the network gets: characters with misplaced boxes,
masked words, text too small to be learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from craftjax.drawing import draw_batches
from craftjax.input_pipeline import BatchSource, make_batches
from craftjax.report import describe_truth
from craftjax.training import TrainError, begin, make_model, read_measured
from craftjax.weak.collapse import label_collapse
from craftjax.weak.options import SupervisionOptions
from craftjax.weak.supervision import label_places, make_labeler
from ocrcore.images import write_image
from ocrcore.training.checkpoints import initial_start
from ocrcore.training.run import RunMemory

_CROPS = 8  # crops to draw, rounded up to whole batches


def check_run(
    config: ConfigDict,
    workdir: str | Path,
    *,
    sources: Mapping[str, Sequence[Any]] | None = None,
    log: Callable[[str], object] = print,
) -> dict[str, int]:
    """Draw the first crops of a run with their maps, and count the words on their pages.

    Word-labeled pages get pseudo labels by the weights that the run would start from, for these
    pages only.

    Args:
        config: an experiment, as in `configs/`.
        workdir: folder for the drawing, `batches.png`.
        sources: as for `craftjax.training.train`.
        log: called with each human-readable message.

    Returns:
        Counts: `pages`; `words` with characters and their `characters`; `masked`, the other words.

    Raises:
        ValueError: (subclasses) an invalid config, data or weights.
    """
    if not config.data.train:
        raise TrainError("config.data.train has no data set, so there is nothing to check")
    measured = read_measured(config)
    for name, truth in zip(("evaluation", "test"), measured, strict=True):
        log(f"{name}: {describe_truth(truth)}")
    rows = slice(0, min(config.batch_size, _CROPS))
    steps = range(-(-_CROPS // config.batch_size))
    count = len(steps) * rows.stop
    with closing(
        make_batches(config, seed=config.seed, rows=rows, workdir=None, sources=sources)
    ) as source:
        log(source.describe())
        _label(config, source, count, log)
        found = _count(source, count, log)
        path = Path(workdir) / "batches.png"
        write_image(path, draw_batches(source, steps))
        log(f"{path}: the first {count} training crops with their targets; look at them")
    return found


def _label(
    config: ConfigDict, source: BatchSource, count: int, log: Callable[[str], object]
) -> None:
    """Make pseudo labels for the first pages, as the run would."""
    places = source.mix.word_places(0, count)
    if not places or not config.get("pseudo"):
        return
    options = SupervisionOptions.from_config(config.pseudo)
    start = initial_start(init_from=config.init_from, weights=config.init_weights)
    log(f"pseudo labels by the start weights: {start.source or start.kind}")
    model = make_model(config.model)
    variables = jax.device_get(begin(config, model, start, RunMemory()))
    labels = label_places(make_labeler(model, options), source, variables, places, log=log)
    stats = labels.stats()
    log("  ".join(f"{name} {value:.4g}" for name, value in stats.items()))
    for reason in label_collapse(stats, None, options.guard):
        log(f"WARNING: {reason}: start from weights that find text (config.init_weights)")
    source.use_labels("", labels=labels)


def _count(source: BatchSource, count: int, log: Callable[[str], object]) -> dict[str, int]:
    """Count words on the pages of the first crops."""
    total = Counter[str](pages=0, words=0, characters=0, masked=0)
    reasons, dropped = Counter[str](), Counter[str]()
    for position in range(count):
        _, sample, _, drops = source.mix.sample(position)
        dropped.update(drop.reason for drop in drops)
        total["pages"] += 1
        for word in sample.page.words:
            known = bool(word.care and word.characters)
            total["words" if known else "masked"] += 1
            total["characters"] += len(word.characters) if known else 0
            reasons["don't care"] += not word.care
            reasons["without characters"] += word.care and not word.characters
    log(
        f"on the pages of the first {count} crops: {total['words']:,} words to train on with "
        f"{total['characters']:,} characters, {total['masked']:,} masked"
        + "".join(f", {n:,} {reason}" for reason, n in (+reasons).items())
        + "".join(f"; {n:,} pages dropped ({reason})" for reason, n in dropped.items())
    )
    return dict(total)
