"""What a run leaves in its folder for people: weights, scores, curves and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from craftjax.convert import to_state_dict
from craftjax.detector import Detector
from craftjax.evaluate import evaluate_detector, format_points
from craftjax.options import DetectorOptions, operating_point_path, save_operating_point
from ocrcore.drawing import MISSED, draw_curves, draw_page, draw_scores
from ocrcore.images import read_image, write_image
from ocrcore.options import from_section
from ocrcore.pages import ByteArray, Page, Sample
from ocrcore.training.checkpoints import load_variables
from ocrcore.weights.pth import save_weights


def write_results(
    config: ConfigDict,
    workdir: str | Path,
    truth: Sequence[Page | Sample],
    log: Callable[[str], object] = print,
    *,
    thresholds: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Writes a run's results, and says what they are and what to do with them.

    `weights.pth` has the best weights (the moving average) in EasyOCR's form, and its thresholds
    beside it; `result.json` their scores on the pages of `config.test`; `loss.png` the curves;
    `overlays/` some of these pages, with found words in green over true ones in red, and with the
    score maps.

    Args:
        config: of the run.
        workdir: of the run, with `checkpoints/` and `metrics.jsonl`.
        truth: the pages of `config.test`.
        log: called with each human-readable message.
        thresholds: of `config.detector` that the best weights were chosen at, where they are not
            those of the config.

    Returns:
        `precision`, `recall` and `hmean` on the pages of `config.test`.
    """
    workdir = Path(workdir)
    variables = load_variables(workdir)
    weights = workdir / "weights.pth"
    save_weights(weights, to_state_dict(variables))
    section = {**config.detector, **(thresholds or {})}
    options = from_section(DetectorOptions, section, "config.detector")
    detector = Detector(variables, options=options)
    point = evaluate_detector(detector, truth, options=options, protocol=config.eval.protocol)
    save_operating_point(operating_point_path(weights), options, measured=point.to_dict())
    _write_json(workdir / "result.json", {**point.to_dict(), "pages": describe_truth(truth)})
    write_curves(workdir / "loss.png", workdir / "metrics.jsonl")
    for index, picture in enumerate(draw_pages(detector, truth[: config.overlays])):
        write_image(workdir / "overlays" / f"page_{index:03}.png", picture)
    log(f"best weights on {describe_truth(truth)}; {config.eval.protocol}")
    log(format_points([point]))
    log(
        f"written to {workdir}: weights.pth, result.json, metrics.jsonl, loss.png, overlays/\n"
        f"look at {workdir}/overlays, then find words in your own pictures:\n"
        f"  ocrjax detect PICTURES --weights {weights} --overlay exp/mine\n"
        "(outside the environment: ./launch.sh ocrjax detect ...)"
    )
    found = point.evaluation
    return {"precision": found.precision, "recall": found.recall, "hmean": found.hmean}


def describe_truth(truth: Sequence[Page | Sample]) -> str:
    """How many pages and words there are, and where."""
    pages = [item.page if isinstance(item, Sample) else item for item in truth]
    words = sum(int(page.care.sum()) for page in pages)
    folders = {Path(page.path).parent for page in pages if page.path}
    where = f" of {folders.pop()}" if len(folders) == 1 else ""
    return f"{len(pages)} pages{where} with {words} words that count"


def draw_pages(detector: Detector, truth: Sequence[Page | Sample]) -> Iterator[ByteArray]:
    """Draws pages: found words over true ones; beside that region scores, then affinity scores.

    Args:
        detector: finds the words.
        truth: pages with paths, or samples.
    """
    for item in truth:
        if isinstance(item, Sample):
            page, image = item.page, item.image
        else:
            page, image = item, read_image(str(item.path))
        (detection,) = detector.stream(image)
        assert detection.page is not None and detection.scores is not None
        drawn = draw_page(draw_page(image, page, color=MISSED), detection.page)
        maps = detection.scores.valid("crop")
        yield np.hstack([drawn, draw_scores(image, maps)])


def write_curves(path: str | Path, metrics: str | Path) -> None:
    """Draws losses and scores of a `metrics.jsonl` over the steps."""
    lines = Path(metrics).read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def curve(name: str) -> list[tuple[float, float]]:
        return [(row["step"], row[name]) for row in rows if row.get(name) is not None]

    losses = {name: curve(name) for name in ("loss", "positive_loss", "negative_loss")}
    scores = {name: curve(f"eval/{name}") for name in ("hmean", "precision", "recall")}
    write_image(path, np.vstack([draw_curves(losses, log=True), draw_curves(scores)]))


def _write_json(path: Path, value: Any) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
