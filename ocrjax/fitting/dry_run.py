"""Dry run of a fit: what it would do, and how long it would take."""

from __future__ import annotations

import time
from collections.abc import Iterator

from craftjax.options import too_few
from ocrcore.pages import LabelError, Page
from ocrcore.progress import shown
from ocrjax.fitting import plan
from ocrjax.fitting.average import SHARES
from ocrjax.fitting.options import FitOptions
from ocrjax.fitting.pictures import PARTS, TEST, VALIDATION, open_folders, read_split, words_of
from ocrjax.reader import Reader


def describe_plan(options: FitOptions) -> Iterator[str]:
    """Yield the lines of the plan. Reads one image to measure the speed of this machine.

    Raises:
        LabelError: there is nothing to train on.
        FitError: the split file cannot be read.
    """
    pages = _pages(options)
    counts = _parts(options, pages)
    some = [page for part in pages.values() for page in part]
    words, choosing = counts["train"][1], counts["validation"]
    told = ", ".join(
        f"{pictures:,} {part} ({words:,} words)" for part, (pictures, words) in counts.items()
    )
    yield f"{len(some):,} images: about {told}"
    why = plan.detector_pays(words=words, choosing=(choosing[1], choosing[0]))
    if options.detector_steps is not None:
        why = "" if options.detector_steps else "0 steps were requested"
    why_not = plan.recognizer_pays(words=words, choosing=choosing[1])
    if options.recognizer_steps is not None:
        why_not = "" if options.recognizer_steps else "0 steps were requested"

    each = _seconds(options, some)
    judging = each * counts["test"][0]
    tuning = 0.0 if too_few(choosing[1], choosing[0]) else 2 * each * choosing[0]
    averaging = each * choosing[0] * (0 if why else len(SHARES) + 1)
    left = max(options.budget - 2 * judging - tuning - averaging, 0.0)
    detector = 0.0 if why else left * plan.DETECTOR_SHARE
    rows = (
        ("audit, split, crops", 0.02 * len(some), ""),
        ("before", judging + tuning, "test images once, validation images for thresholds"),
        ("detector", detector, why),
        ("recognizer", 0.0 if why_not else left - detector, why_not),
        ("average", averaging, "" if not why else "the recognizer only"),
        ("after", judging, "test images once"),
        ("export", 30.0, ""),
    )
    yield (
        f"an image takes {each:.1f} s on this machine; from {options.budget / 60:.0f} minutes, the "
        "stages take:"
    )
    for name, seconds, note in rows:
        cost = f"{seconds / 60:6.1f}" if seconds else "     -"
        yield f"{cost} min  {name}" + (f": {note}" if note else "")
    total = sum(seconds for _, seconds, _ in rows)
    yield f"{total / 60:6.1f} min  at most"
    if 2 * judging + tuning + averaging > options.budget:
        yield "the budget is too small even without training; raise --budget"


def _pages(options: FitOptions) -> dict[str, list[Page]]:
    """Pages by the part that `open_folders` gives; images with faults are left out."""
    found: dict[str, list[Page]] = {}
    for part, folder in open_folders(options):
        pages = found.setdefault(part, [])
        for index in shown(range(len(folder)), f"reading {folder.labels}", unit="picture"):
            try:
                pages.append(folder.page(index))
            except LabelError:
                continue
    return found


def _parts(options: FitOptions, pages: dict[str, list[Page]]) -> dict[str, tuple[int, int]]:
    """Estimate the number of images and words of each part."""
    counts = {part: (len(some), len(words_of(some))) for part, some in pages.items()}
    if options.split:
        of = [*read_split(options.split).values()]
        pictures, words = counts["train"]
        share = {part: of.count(part) / max(len(of), 1) for part in PARTS}
        counts = {part: (of.count(part), round(words * share[part])) for part in PARTS}
    pictures, words = counts["train"]
    if "test" not in counts:
        counts["test"] = (round(pictures * TEST), round(words * TEST))
    if not counts.get("validation", (0, 0))[0]:
        counts["validation"] = (round(pictures * VALIDATION), round(words * VALIDATION))
    held = [counts[part] for part in ("validation", "test") if part not in pages]
    if not options.split:
        rest = (pictures - sum(n for n, _ in held), words - sum(n for _, n in held))
        counts["train"] = (max(rest[0], 0), max(rest[1], 0))
    return {part: counts[part] for part in PARTS}


def _seconds(options: FitOptions, pages: list[Page]) -> float:
    """Seconds to read an image of the median size, compilation excluded."""
    middle = sorted(pages, key=lambda page: page.height * page.width)[len(pages) // 2]
    reader = Reader(options.detector, options.recognizer, charset=options.charset or None)
    reader.read(str(middle.path))
    begun = time.monotonic()
    reader.read(str(middle.path))
    return time.monotonic() - begun
