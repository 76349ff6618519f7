"""Evaluation of a detector on labeled pictures: forward once, then any thresholds and protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from craftjax.boxes import find_boxes, scale_boxes
from craftjax.detector import Detector, Scores, fit_of
from craftjax.options import DetectorOptions, too_few
from craftjax.tiles import plan_tiles
from ocrcore.config_sections import given
from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.data.readers.icdar import read_icdar_folder
from ocrcore.data.readers.skipped_files import describe_turned, turned_pictures, unused_files
from ocrcore.data.readers.words import WORD_KINDS, open_section
from ocrcore.evaluation.matching import Evaluation, ImageResult, evaluate
from ocrcore.evaluation.statistics import Interval, bootstrap_hmean, paired_bootstrap
from ocrcore.files import replacing
from ocrcore.images import ImageError
from ocrcore.pages import FloatArray, LabelError, Page, Sample
from ocrcore.progress import shown
from ocrcore.runtime.mesh import from_shares, gather_json, my_share
from ocrcore.synth.config import preset
from ocrcore.synth.pages import PageSource

# Of many thresholds the best are tried, at each evaluation: with 95 % they moved for nothing on up
# to 5 % of drawn sets of 5 to 40 street photos, with 99 % on up to 2 % (docs/benchmarks.md).
_LEVEL = 0.99


class EvaluationError(ValueError):
    """Nothing, or not everything, can be evaluated; the message says why."""


def read_truth(
    section: Mapping[str, Any], *, bad: list[LabelError] | None = None
) -> Sequence[Page | Sample]:
    """Labeled pages as a section of a config names them.

    Args:
        section: with `kind` "icdar": `images` and `gt`, folders in `root`, and `layout` and
            `dont_care` as of `ocrcore.data.readers.icdar.read_icdar_folder`; `start` and `stop`, if
            given, are the first picture that counts and the first that does not any more. With
            "words": the same, see `ocrcore.data.readers.words.open_section`. Both have pictures in
            the order of their names (`img_10` before `img_2`), as training has. With "pages":
            `count` synthetic pages of `seed`, made by `preset` with the changes in `page`.
        bad: takes malformed lines of label files; without it they are errors.

    Raises:
        EvaluationError: another kind.
        LabelError: files that are missing or malformed.
    """
    section = given(section)
    if section["kind"] == "icdar":
        pages = read_icdar_folder(
            Path(section["root"]) / section["images"],
            Path(section["root"]) / section["gt"],
            layout=section["layout"],
            dont_care=tuple(section["dont_care"]),
            bad=bad,
        )
        return pages[section.get("start", 0) : section.get("stop")]
    if section["kind"] in WORD_KINDS:
        folder = open_section(section)
        return [folder.page(index, bad=bad) for index in range(len(folder))]
    if section["kind"] == "pages":
        config = preset(section["preset"], **section.get("page", {}))
        source = PageSource(config, section["seed"], length=section["count"])
        places = range(section["count"])
        return [source[index] for index in shown(places, "drawing synthetic pages", unit="page")]
    raise EvaluationError(
        f"kind of labeled pages is {section['kind']!r}, expected icdar, pages or one of "
        f"{', '.join(WORD_KINDS)}"
    )


def truth_notes(section: Mapping[str, Any]) -> list[str]:
    """Says how the labels of a section are written, which files are not used, which EXIF turns."""
    section = given(section)
    if section["kind"] == "icdar":
        root = Path(section["root"])
        labels = root / section["gt"]
        folder = PhotoFolder(root / section["images"], labels, None, layout=section["layout"])
    elif section["kind"] in WORD_KINDS:
        folder = open_section(section)
    else:
        return []
    turned = turned_pictures(folder)
    notes = [f"labels read as {folder.layout}", *unused_files(folder)]
    return notes + [describe_turned(turned, len(folder))] * bool(turned)


def check_words(truth: Sequence[Page | Sample], name: str) -> None:
    """Refuses labeled pages on which nothing can be right or wrong.

    Args:
        truth: the pages.
        name: of them, for the message.

    Raises:
        EvaluationError: no word counts.
    """
    pages = [item.page if isinstance(item, Sample) else item for item in truth]
    if not any(page.care.any() for page in pages):
        raise EvaluationError(
            f"{name}: 0 of {sum(len(page.words) for page in pages)} words on {len(pages)} pages "
            "count, so there is nothing to judge by: they are don't care ('###'), or the label "
            "files are empty. Label some words, or name or hold out other pages"
        )


class ScoreCache:
    """Score maps on disk, so that an evaluation resumes and a sweep needs no second forward pass.

    One `.npy` file a picture, in a folder named after the weights; the file's name stands for the
    picture and for all that was done to it before the network saw it. Files are written whole or
    not at all.
    """

    def __init__(self, root: str | Path, *, fingerprint: str, options: DetectorOptions) -> None:
        self._options = _alone(options)
        self.folder = Path(root) / fingerprint[:16]
        self.folder.mkdir(parents=True, exist_ok=True)

    def _path(self, page: Page) -> Path:
        path = Path(str(page.path))
        stat = path.stat()
        options = self._options
        fit = fit_of((page.height, page.width), options)
        tiling = plan_tiles(fit.padded, max_area=options.max_area, margin=options.tile_margin)
        seen = (fit, tiling, options.pad, str(path.resolve()), stat.st_size, stat.st_mtime_ns)
        return self.folder / f"{path.stem}.{hashlib.md5(repr(seen).encode()).hexdigest()[:12]}.npy"

    def load(self, page: Page) -> Scores | None:
        """Returns a page's scores if they are there."""
        path = self._path(page)
        if not path.exists():
            return None
        maps: FloatArray = np.load(path)
        fit = fit_of((page.height, page.width), self._options)
        return Scores(maps, fit, page.height, page.width)

    def save(self, page: Page, scores: Scores) -> None:
        """Keeps a page's scores."""
        with replacing(self._path(page)) as part, part.open("wb") as file:
            np.save(file, scores.maps)


def score_pages(
    detector: Detector,
    truth: Sequence[Page | Sample],
    *,
    options: DetectorOptions,
    cache: ScoreCache | None = None,
) -> Iterator[tuple[int, Scores | ImageError]]:
    """Yields every page's index with its scores, from the cache where they are there.

    Inputs are padded to multiples of 32 whatever `options.pad` says: what is found in a picture
    does not depend on the pictures that are scored with it.

    Args:
        detector: with its weights.
        truth: pages with paths, or samples; only their pictures are used.
        options: how to scale and score.
        cache: takes the scores that are computed; those of samples are not kept.
    """
    missing = []
    options = _alone(options)
    for index, page in enumerate(truth):
        scores = cache.load(page) if cache and isinstance(page, Page) else None
        if scores is None:
            missing.append(index)
        else:
            yield index, scores
    items = [truth[index] for index in missing]
    pictures = [item.image if isinstance(item, Sample) else str(item.path) for item in items]
    for position, result in detector.score(pictures, options=options):
        index, page = missing[position], items[position]
        if cache is not None and isinstance(page, Page) and isinstance(result, Scores):
            cache.save(page, result)
        yield index, result


def _alone(options: DetectorOptions) -> DetectorOptions:
    """Options by which a picture's input has a size of its own."""
    return replace(options, pad="exact")


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Thresholds with what they reached.

    Attributes:
        text_threshold: see `DetectorOptions`.
        link_threshold: see `DetectorOptions`.
        low_text: see `DetectorOptions`.
        evaluation: of the words that these thresholds give.
    """

    text_threshold: float
    link_threshold: float
    low_text: float
    evaluation: Evaluation

    @property
    def thresholds(self) -> dict[str, Any]:
        """The three by name."""
        return {
            "text_threshold": self.text_threshold,
            "link_threshold": self.link_threshold,
            "low_text": self.low_text,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values without the pictures."""
        e = self.evaluation
        scores = {"precision": e.precision, "recall": e.recall, "hmean": e.hmean}
        return {**self.thresholds, **scores, "protocol": e.protocol, "images": len(e.images)}


def sweep(
    detector: Detector,
    truth: Sequence[Page | Sample],
    *,
    options: DetectorOptions,
    text_thresholds: Sequence[float],
    link_thresholds: Sequence[float],
    low_texts: Sequence[float],
    protocol: str = "iou",
    cache: ScoreCache | None = None,
    report: Callable[[int], None] | None = None,
) -> list[OperatingPoint]:
    """Evaluates every combination of thresholds with one forward pass for each picture.

    Args:
        detector: with its weights.
        truth: labels with the pictures' paths, or samples.
        options: how to scale and score; of points with the same hmean the one that is nearest to
            its thresholds comes first.
        text_thresholds: to try; boxes are found once for the lowest and then filtered.
        link_thresholds: to try.
        low_texts: to try.
        protocol: one of `ocrcore.evaluation.matching.PROTOCOLS`.
        cache: of score maps.
        report: called with the number of pages done so far.

    Returns:
        One point for each combination, the best hmean first.

    Raises:
        EvaluationError: no pages, or a picture that cannot be read.
    """
    if not truth:
        raise EvaluationError("no labeled pictures to evaluate")
    tried = list(product(text_thresholds, link_thresholds, low_texts))
    points = _evaluate_points(
        detector, truth, tried, options=options, protocol=protocol, cache=cache, report=report
    )
    return _ranked(points, options)


def sweep_share(
    detector: Detector,
    truth: Sequence[Page | Sample],
    *,
    options: DetectorOptions,
    text_thresholds: Sequence[float],
    link_thresholds: Sequence[float],
    low_texts: Sequence[float],
    protocol: str = "iou",
    report: Callable[[int], None] | None = None,
) -> list[OperatingPoint]:
    """As `sweep`, but each process of a run takes its share of the pages; all get all results.

    Args:
        detector: as for `sweep`; as the others, the same in all processes.
        truth: all pages.
        options: as for `sweep`.
        text_thresholds: as for `sweep`.
        link_thresholds: as for `sweep`.
        low_texts: as for `sweep`.
        protocol: as for `sweep`.
        report: called with the number of pages of this process done so far.

    Raises:
        EvaluationError: as `sweep`.
        MeshError: the processes have other numbers of pages.
    """
    if not truth:
        raise EvaluationError("no labeled pictures to evaluate")
    tried = list(product(text_thresholds, link_thresholds, low_texts))
    points = _evaluate_points(
        detector, my_share(truth), tried, options=options, protocol=protocol, report=report
    )
    shares = gather_json(
        [[image.to_dict() for image in point.evaluation.images] for point in points]
    )
    return _ranked(join_points(points, shares), options)


def join_points(
    points: Sequence[OperatingPoint], shares: Sequence[Sequence[Sequence[Mapping[str, Any]]]]
) -> list[OperatingPoint]:
    """Puts the results of all processes' shares of some pages together.

    Args:
        points: of one of them.
        shares: of each, for each point, `ImageResult.to_dict` of its pages (`my_share`).
    """
    return [
        replace(
            point,
            evaluation=replace(
                point.evaluation,
                images=tuple(
                    map(ImageResult.from_dict, from_shares([share[number] for share in shares]))
                ),
            ),
        )
        for number, point in enumerate(points)
    ]


def _ranked(points: Sequence[OperatingPoint], options: DetectorOptions) -> list[OperatingPoint]:
    """The best hmean first; of equal ones that nearest to the thresholds in use."""

    def rank(point: OperatingPoint) -> tuple[float, float]:
        moves = (abs(value - getattr(options, name)) for name, value in point.thresholds.items())
        return -point.evaluation.hmean, round(sum(moves), 6)

    return sorted(points, key=rank)


def _evaluate_points(
    detector: Detector,
    truth: Sequence[Page | Sample],
    tried: Sequence[tuple[float, float, float]],
    *,
    options: DetectorOptions,
    protocol: str,
    cache: ScoreCache | None = None,
    report: Callable[[int], None] | None = None,
) -> list[OperatingPoint]:
    """A point for each three of thresholds, in order; of no pages, where there are none."""
    text_thresholds = sorted({text for text, _, _ in tried})
    pairs = sorted({(link, low) for _, link, low in tried})
    found: dict[tuple[float, float, float], list[list[FloatArray]]] = {
        key: [[] for _ in truth] for key in tried
    }
    scored = score_pages(detector, truth, options=options, cache=cache)
    for done, (index, scores) in enumerate(scored, 1):
        if isinstance(scores, ImageError):
            raise EvaluationError(f"cannot evaluate without every picture: {scores}") from scores
        maps = scores.valid(options.border)
        for link, low in pairs:
            boxes = find_boxes(
                maps[:, :, 0],
                maps[:, :, 1],
                text_threshold=min(text_thresholds),
                link_threshold=link,
                low_text=low,
            )
            quads = scale_boxes(boxes, scores.fit.ratio).quads
            for text in text_thresholds:
                # The comparison is the one that `find_boxes` makes, in float32.
                found[text, link, low][index] = list(quads[boxes.scores >= np.float32(text)])
        if report:
            report(done)
    pages = [item.page if isinstance(item, Sample) else item for item in truth]
    words = [[word.outline for word in page.words] for page in pages]
    care = [page.care for page in pages]
    names = [page.path for page in pages]
    return [
        OperatingPoint(*key, evaluate(words, care, value, protocol=protocol, names=names))
        for key, value in found.items()
    ]


@dataclass(frozen=True, slots=True)
class Choice:
    """Thresholds that were chosen.

    Attributes:
        point: the thresholds.
        why: the reason for the choice and the words it rests on, as a sentence for the log.
        moved: whether they are others than before.
        few: whether there were too few words to choose by.
    """

    point: OperatingPoint
    why: str
    moved: bool = False
    few: bool = False


def choose_point(points: Sequence[OperatingPoint], options: DetectorOptions) -> Choice:
    """Takes the best thresholds where they beat those in use by more than chance.

    Args:
        points: of `sweep`, those in use among them.
        options: with the thresholds in use.

    Returns:
        The best of the points, if there are words enough and the paired 99 % interval over pictures
        of its gain (`ocrcore.evaluation.statistics.paired_bootstrap`) lies above 0; else the point
        in use.
    """
    (used,) = (
        point
        for point in points
        if all(value == getattr(options, name) for name, value in point.thresholds.items())
    )
    pictures = sum(image.truth_care > 0 for image in used.evaluation.images)
    words = used.evaluation.truth_care
    if few := too_few(words, pictures):
        return Choice(used, few, few=True)
    basis = f"{words:,} words on {pictures:,} pictures"
    best = points[0]
    if best.evaluation.hmean <= used.evaluation.hmean:
        return Choice(used, f"none of {len(points)} is better on {basis}")
    gain = paired_bootstrap(used.evaluation, best.evaluation, level=_LEVEL)
    old, new = ("/".join(f"{x:g}" for x in one.thresholds.values()) for one in (used, best))
    text = f"hmean {gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}) on {basis}"
    if gain.low <= 0:
        return Choice(used, f"{new} instead of {old} may be better by chance: {text}")
    return Choice(best, f"{new} instead of {old}: {text}", moved=True)


def count_words(truth: Sequence[Page | Sample]) -> tuple[int, int]:
    """Words that count, and pictures that have such."""
    pages = [item.page if isinstance(item, Sample) else item for item in truth]
    words = [int(page.care.sum()) for page in pages]
    return sum(words), sum(count > 0 for count in words)


def with_used(tried: Sequence[float], used: float) -> tuple[float, ...]:
    """Values of a threshold to try, with the one in use."""
    return tuple(sorted({*tried, used}))


def evaluate_detector(
    detector: Detector,
    truth: Sequence[Page | Sample],
    *,
    options: DetectorOptions,
    protocol: str = "iou",
    cache: ScoreCache | None = None,
    report: Callable[[int], None] | None = None,
) -> OperatingPoint:
    """Evaluates at the thresholds of `options`; see `sweep`."""
    (point,) = sweep(
        detector,
        truth,
        options=options,
        text_thresholds=[options.text_threshold],
        link_thresholds=[options.link_threshold],
        low_texts=[options.low_text],
        protocol=protocol,
        cache=cache,
        report=report,
    )
    return point


def format_points(points: Sequence[OperatingPoint], *, intervals: bool = True) -> str:
    """A table of operating points; hmean with its 95 % bootstrap interval over pictures."""
    lines = ["  text   link    low   precision  recall   hmean" + "   95 %" * intervals]
    for point in points:
        e = point.evaluation
        line = (
            f"{point.text_threshold:6.2f} {point.link_threshold:6.2f} {point.low_text:6.2f}"
            f"   {e.precision:9.4f} {e.recall:7.4f} {e.hmean:7.4f}"
        )
        if intervals:
            interval: Interval = bootstrap_hmean(e)
            line += f"   {interval.low:.4f} to {interval.high:.4f}"
        lines.append(line)
    return "\n".join(lines)
