"""Evaluation of a detector on labeled images: one forward pass for any thresholds and protocol."""

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

# Confidence level for a change of thresholds. It is strict because each evaluation picks the best
# of many: with 95 % thresholds changed without a real gain on up to 5 % of random sets of 5 to 40
# street photos, with 99 % on up to 2 % (docs/benchmarks.md).
_LEVEL = 0.99


class EvaluationError(ValueError):
    """An evaluation is not possible; the message says why."""


def read_truth(
    section: Mapping[str, Any], *, bad: list[LabelError] | None = None
) -> Sequence[Page | Sample]:
    """Read the labeled pages of a config section.

    Args:
        section: with `kind` "icdar": `images` and `gt`, folders in `root`, and `layout` and
            `dont_care` as for `ocrcore.data.readers.icdar.read_icdar_folder`; `start` and `stop`,
            if given, are a slice of the images. With "words": the same, see
            `ocrcore.data.readers.words.open_section`. Both order images by name (`img_10` before
            `img_2`), as training does. With "pages": `count` synthetic pages of `seed`, drawn by
            `preset` with the changes in `page`.
        bad: collects malformed lines of label files; None makes them errors.

    Raises:
        EvaluationError: another kind.
        LabelError: files are missing or malformed.
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
        f"the kind of labeled pages is {section['kind']!r}, expected icdar, pages or one of "
        f"{', '.join(WORD_KINDS)}"
    )


def truth_notes(section: Mapping[str, Any]) -> list[str]:
    """Return notes on a section: label layout, unused files, images rotated by EXIF."""
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
    """Refuse labeled pages without any word that counts.

    Args:
        truth: the pages.
        name: their name, for the message.

    Raises:
        EvaluationError: no word counts.
    """
    pages = [item.page if isinstance(item, Sample) else item for item in truth]
    if not any(page.care.any() for page in pages):
        raise EvaluationError(
            f"{name}: 0 of {sum(len(page.words) for page in pages)} words on {len(pages)} pages "
            "count, so there is nothing to evaluate: they are don't care ('###'), or the label "
            "files are empty. Label some words, or choose or hold out other pages"
        )


class ScoreCache:
    """Score maps on disk, so that an evaluation resumes and a sweep needs no second forward pass.

    There is one `.npy` file per image, in a folder named after the weights; the file name is a
    digest of the image and its preprocessing. Files are written atomically.
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
        """Return a page's scores if they are cached."""
        path = self._path(page)
        if not path.exists():
            return None
        maps: FloatArray = np.load(path)
        fit = fit_of((page.height, page.width), self._options)
        return Scores(maps, fit, page.height, page.width)

    def save(self, page: Page, scores: Scores) -> None:
        """Save a page's scores."""
        with replacing(self._path(page)) as part, part.open("wb") as file:
            np.save(file, scores.maps)


def score_pages(
    detector: Detector,
    truth: Sequence[Page | Sample],
    *,
    options: DetectorOptions,
    cache: ScoreCache | None = None,
) -> Iterator[tuple[int, Scores | ImageError]]:
    """Yield every page's index with its scores, from the cache if possible.

    Inputs are padded to multiples of 32 whatever `options.pad` says, so that the result for an
    image does not depend on the other images.

    Args:
        detector: the detector.
        truth: pages with paths, or samples; only their images are used.
        options: how to scale and score.
        cache: stores computed scores, except those of samples.
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
    """Return options with which an image's input size does not depend on other images."""
    return replace(options, pad="exact")


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Thresholds with their evaluation.

    Attributes:
        text_threshold: see `DetectorOptions`.
        link_threshold: see `DetectorOptions`.
        low_text: see `DetectorOptions`.
        evaluation: evaluation of the words found with these thresholds.
    """

    text_threshold: float
    link_threshold: float
    low_text: float
    evaluation: Evaluation

    @property
    def thresholds(self) -> dict[str, Any]:
        """Return the three thresholds by name."""
        return {
            "text_threshold": self.text_threshold,
            "link_threshold": self.link_threshold,
            "low_text": self.low_text,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without results by image."""
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
    shared: bool = False,
) -> list[OperatingPoint]:
    """Evaluate every combination of thresholds with one forward pass per image.

    Args:
        detector: the detector.
        truth: labeled pages with image paths, or samples.
        options: how to scale and score; among points with the same hmean, the one nearest to these
            thresholds comes first.
        text_thresholds: values to try; boxes are found once for the lowest and then filtered.
        link_thresholds: values to try.
        low_texts: values to try.
        protocol: one of `ocrcore.evaluation.matching.PROTOCOLS`.
        cache: cache of score maps.
        report: called with the number of pages done so far, by this process.
        shared: all processes of a run call this with the same arguments; each evaluates its share
            of the pages, and all get all results.

    Returns:
        One point for each combination, the best hmean first.

    Raises:
        EvaluationError: there are no pages, or an image cannot be read.
        MeshError: the processes have different numbers of pages.
    """
    if not truth:
        raise EvaluationError("no labeled images to evaluate")
    tried = list(product(text_thresholds, link_thresholds, low_texts))
    points = _evaluate_points(
        detector,
        my_share(truth) if shared else truth,
        tried,
        options=options,
        protocol=protocol,
        cache=cache,
        report=report,
    )
    if shared:
        found = [[image.to_dict() for image in point.evaluation.images] for point in points]
        points = join_points(points, gather_json(found))
    return _ranked(points, options)


def join_points(
    points: Sequence[OperatingPoint], shares: Sequence[Sequence[Sequence[Mapping[str, Any]]]]
) -> list[OperatingPoint]:
    """Join the results of all processes' shares of some pages.

    Args:
        points: the points of one process.
        shares: for each process and each point, `ImageResult.to_dict` of its pages (`my_share`).
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
    """Sort by hmean, best first; ties by the distance to the thresholds in use."""

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
    """Return a point for each triple of thresholds, in order; `truth` may be empty."""
    text_thresholds = sorted({text for text, _, _ in tried})
    pairs = sorted({(link, low) for _, link, low in tried})
    found: dict[tuple[float, float, float], list[list[FloatArray]]] = {
        key: [[] for _ in truth] for key in tried
    }
    scored = score_pages(detector, truth, options=options, cache=cache)
    for done, (index, scores) in enumerate(scored, 1):
        if isinstance(scores, ImageError):
            raise EvaluationError(f"an image cannot be read: {scores}") from scores
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
                # The same comparison as in `find_boxes`, in float32.
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
        why: a sentence for the log about the reason and the number of words.
        moved: whether the thresholds have changed.
        few: whether there were too few words to choose by.
    """

    point: OperatingPoint
    why: str
    moved: bool = False
    few: bool = False


def choose_point(points: Sequence[OperatingPoint], options: DetectorOptions) -> Choice:
    """Choose the best thresholds if they are significantly better than those in use.

    Args:
        points: points of `sweep`, including those in use.
        options: options with the thresholds in use.

    Returns:
        The best of the points if there are enough words and the paired 99 % interval of its gain
        over images (`ocrcore.evaluation.statistics.paired_bootstrap`) is above 0; else the point in
        use.
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
    basis = f"{words:,} words on {pictures:,} images"
    best = points[0]
    if best.evaluation.hmean <= used.evaluation.hmean:
        return Choice(used, f"none of {len(points)} is better on {basis}")
    gain = paired_bootstrap(used.evaluation, best.evaluation, level=_LEVEL)
    old, new = ("/".join(f"{x:g}" for x in one.thresholds.values()) for one in (used, best))
    text = f"hmean {gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}) on {basis}"
    if gain.low <= 0:
        return Choice(used, f"{new} instead of {old} is not significantly better: {text}")
    return Choice(best, f"{new} instead of {old}: {text}", moved=True)


def count_words(truth: Sequence[Page | Sample]) -> tuple[int, int]:
    """Return the number of words that count, and of images that have such words."""
    pages = [item.page if isinstance(item, Sample) else item for item in truth]
    words = [int(page.care.sum()) for page in pages]
    return sum(words), sum(count > 0 for count in words)


def with_used(tried: Sequence[float], used: float) -> tuple[float, ...]:
    """Return the values of a threshold to try, including the one in use."""
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
    """Evaluate at the thresholds of `options`; see `sweep`."""
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
    """Return a table of operating points; hmean with its 95 % bootstrap interval over images."""
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
