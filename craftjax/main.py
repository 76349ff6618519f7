"""Entry point of the detector: evaluates it and tunes its thresholds.

Example: `python -m craftjax.main --config=configs/ic15.py --images=DIR --gt=DIR`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags
from tqdm import tqdm

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment: a file of configs/.", lock_config=True
)
_MODE = flags.DEFINE_enum(
    "mode",
    "evaluate",
    ["evaluate", "sweep"],
    "evaluate: score the test pictures at the config's thresholds. sweep: try the thresholds of "
    "config.sweep in one pass over the pictures and keep the best.",
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; default exp/<config.name>.")
_WEIGHTS = flags.DEFINE_string("weights", None, "A name or file, in place of config.weights.")
_IMAGES = flags.DEFINE_string("images", None, "Pictures, in place of config.data.test_images.")
_GT = flags.DEFINE_string("gt", None, "Label files, in place of config.data.test_gt.")
_SKIP_BAD = flags.DEFINE_bool("skip_bad", False, "Leave out malformed lines and list them.")
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
    """Runs one mode."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.WARNING)
    try:
        _evaluate()
    except (ValueError, FileNotFoundError) as error:
        # Our own errors say all that a user needs; a traceback would hide it.
        sys.exit(f"craftjax.main: {error}")


def _evaluate() -> None:
    from craftjax import evaluate
    from craftjax.detector import Detector
    from craftjax.options import DetectorOptions, operating_point_path, save_operating_point
    from ocrjax.readers.icdar import LabelError, read_icdar_folder

    config = _CONFIG.value
    workdir = Path(_WORKDIR.value or f"exp/{config.name}")
    workdir.mkdir(parents=True, exist_ok=True)
    root = Path(config.data.root)
    bad: list[LabelError] = []
    truth = read_icdar_folder(
        _IMAGES.value or root / config.data.test_images,
        _GT.value or root / config.data.test_gt,
        layout=config.data.layout,
        dont_care=tuple(config.data.dont_care),
        bad=bad if _SKIP_BAD.value else None,
    )
    if bad:
        print(f"left out {len(bad)} malformed lines:", *bad, sep="\n  ", file=sys.stderr)
    weights = _WEIGHTS.value or config.weights
    options = DetectorOptions(**config.detector)
    detector = Detector.from_weights(weights, options=options)
    cache = None
    if config.eval.keep_scores:
        cache = evaluate.ScoreCache(
            workdir / "scores", fingerprint=detector.fingerprint, options=options
        )
    with tqdm(total=len(truth), unit="page", disable=None) as progress:
        sweeping = _MODE.value == "sweep"
        points = evaluate.sweep(
            detector,
            truth,
            options=options,
            text_thresholds=_either(sweeping, config.sweep.text_threshold, options.text_threshold),
            link_thresholds=_either(sweeping, config.sweep.link_threshold, options.link_threshold),
            low_texts=_either(sweeping, config.sweep.low_text, options.low_text),
            protocol=config.eval.protocol,
            cache=cache,
            report=lambda _: progress.update(),
        )
    words = points[0].evaluation.truth_care
    print(f"{weights} on {len(truth)} pictures, {words} words that count; {config.eval.protocol}")
    print(evaluate.format_points(points[: 10 if sweeping else 1]))
    best = points[0]
    report = {
        "weights": str(weights),
        "options": dict(config.detector),
        "points": [point.to_dict() for point in points],
        "best": best.evaluation.to_dict(),
        "malformed": [str(error) for error in bad],
    }
    out = workdir / f"{_MODE.value}.json"
    part = out.with_suffix(".part")
    part.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(out)
    print(f"written: {out}")
    if sweeping:
        tuned = replace(options, **best.thresholds)
        where = [workdir / "operating_point.json"]
        if Path(weights).exists():
            where.append(operating_point_path(weights))
        for path in where:
            save_operating_point(path, tuned, measured=best.to_dict())
            print(f"written: {path}")


def _either(sweeping: bool, many: tuple[float, ...], one: float) -> tuple[float, ...]:
    return tuple(many) if sweeping else (one,)


if __name__ == "__main__":
    app.run(main)
