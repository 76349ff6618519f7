"""The results in a run directory: weights, scores, curves and overlays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from craftjax.convert import to_state_dict
from craftjax.detector import Detector
from craftjax.evaluate import evaluate_detector, format_points
from craftjax.options import DetectorOptions, operating_point_path, save_operating_point
from ocrcore.drawing import (
    FIRST_CORNER,
    FOUND,
    IGNORED,
    MISSED,
    SCORES,
    draw_caption,
    draw_page,
    draw_scores,
    drawing_names,
    grid,
)
from ocrcore.evaluation.statistics import bootstrap_hmean
from ocrcore.files import write_json
from ocrcore.images import read_image, write_image
from ocrcore.options import from_section
from ocrcore.pages import ByteArray, Page, Sample
from ocrcore.progress import Progress, shown
from ocrcore.training.checkpoints import load_variables
from ocrcore.training.curves import write_curves
from ocrcore.training.run_folder import RunFolder
from ocrcore.weights.pth import save_weights

_LEGEND = (
    ("found", FOUND),
    ("labeled, under the words found", MISSED),
    ("labeled as don't care", IGNORED),
    FIRST_CORNER,
    *SCORES,
)


def write_results(
    config: ConfigDict,
    workdir: str | Path,
    truth: Sequence[Page | Sample],
    log: Callable[[str], object] = print,
    *,
    thresholds: Mapping[str, float] | None = None,
    chosen: str = "config.detector",
) -> dict[str, float]:
    """Write a run's results, and log what they are and how to use them.

    `weights.pth` has the best weights (EMA) in EasyOCR's format, with its thresholds next to it;
    `result.json` has their scores on the pages of `config.test`, with the 95 % interval of hmean;
    `loss.png` has the curves; `overlays/` has some of these pages, with found words in green over
    true ones in red, and with the score maps.

    Args:
        config: config of the run.
        workdir: the run directory, with `checkpoints/` and `metrics.jsonl`.
        truth: the pages of `config.test`.
        log: called with each human-readable message.
        thresholds: the thresholds at which the best weights were chosen, if they differ from those
            of `config.detector`.
        chosen: how the thresholds were chosen.

    Returns:
        `precision`, `recall` and `hmean` on the pages of `config.test`.
    """
    run = RunFolder(Path(workdir))
    variables = load_variables(run.path)
    save_weights(run.weights, to_state_dict(variables))
    section = {**config.detector, **(thresholds or {})}
    options = from_section(DetectorOptions, section, "config.detector")
    detector = Detector(variables, options=options)
    with Progress("testing weights.pth", unit="page", total=len(truth)) as progress:
        point = evaluate_detector(
            detector,
            truth,
            options=options,
            protocol=config.eval.protocol,
            report=progress.update,
        )
    beside = operating_point_path(run.weights)
    save_operating_point(beside, options, measured=point.to_dict(), chosen=chosen)
    interval = bootstrap_hmean(point.evaluation)
    write_json(
        run.path / "result.json",
        {
            **point.to_dict(),
            "interval": [interval.low, interval.high],
            "pages": describe_truth(truth),
        },
    )
    draw_curves(run.path / "loss.png", run.metrics)
    pages = truth[: config.overlays]
    paths = [page_of(item).path for item in pages]
    names = shown(drawing_names(paths), "drawing overlays", unit="page")
    for name, picture in zip(names, draw_pages(detector, pages), strict=True):
        write_image(run.path / "overlays" / f"{name}.png", picture)
    log(f"weights.pth on {describe_truth(truth)}; {config.eval.protocol}; thresholds: {chosen}")
    log(format_points([point]))
    log(
        f"written to {workdir}: weights.pth, result.json, metrics.jsonl, loss.png, overlays/\n"
        f"look at {workdir}/overlays, then find words in your own images:\n"
        f"  ocrjax detect PHOTOS --weights {run.weights} --overlay exp/mine\n"
        "(outside the environment: ./launch.sh ocrjax detect ...)\n"
        f"HTML report: ocrjax report {workdir}"
    )
    found = point.evaluation
    return {"precision": found.precision, "recall": found.recall, "hmean": found.hmean}


def describe_truth(truth: Sequence[Page | Sample]) -> str:
    """Return the number of pages and words, and where they are."""
    pages = [page_of(item) for item in truth]
    words = sum(int(page.care.sum()) for page in pages)
    folders = {Path(page.path).parent for page in pages if page.path}
    where = f" of {folders.pop()}" if len(folders) == 1 else ""
    return f"{len(pages)} pages{where} with {words} words that count"


def page_of(item: Page | Sample) -> Page:
    """Return the page of a sample, or the page itself."""
    return item.page if isinstance(item, Sample) else item


def draw_pages(detector: Detector, truth: Sequence[Page | Sample]) -> Iterator[ByteArray]:
    """Draw pages: found words over true ones, then region scores and affinity scores.

    Below is the name of the photo, with a legend.

    Args:
        detector: the detector.
        truth: pages with paths, or samples.
    """
    for number, item in enumerate(truth):
        page = page_of(item)
        image = item.image if isinstance(item, Sample) else read_image(str(item.path))
        (detection,) = detector.stream(image)
        assert detection.page is not None and detection.scores is not None
        drawn = draw_page(draw_page(image, page, color=MISSED), detection.page)
        maps = detection.scores.valid("crop")
        name = Path(page.path).name if page.path else f"page {number}"
        picture = np.hstack([drawn, draw_scores(image, maps)])
        counts = f"{len(detection.page.words)} words found, {int(page.care.sum())} labeled"
        caption = draw_caption(f"{name}: {counts}", _LEGEND, width=picture.shape[1])
        yield grid([picture, caption], columns=1)


def draw_curves(path: str | Path, metrics: str | Path) -> None:
    """Draw losses and scores of a run's `metrics.jsonl` over steps."""
    write_curves(
        path,
        metrics,
        losses={"loss": "loss", "positive": "positive_loss", "negative": "negative_loss"},
        scores={name: f"eval/{name}" for name in ("hmean", "precision", "recall")},
    )
