"""Entry point of the detector: packs data, trains, evaluates and tunes thresholds.

Examples:
    python -m craftjax.main --config=configs/quickstart.py --config.optimizer.learning_rate=1e-3
        --workdir=exp/slower
    python -m craftjax.main --config=configs/ic15.py --images=DIR --gt=DIR
"""

from __future__ import annotations

import os

# Words are split in threads of ours, and many small products in OpenBLAS' own threads cost eight
# times as much. Before NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags
from tqdm import tqdm

from ocrcore.progress import Progress
from ocrcore.training.flags import parse_flags

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment: a file of configs/.", lock_config=True
)
_MODE = flags.DEFINE_enum(
    "mode",
    None,
    ["train", "evaluate", "sweep", "pack", "audit"],
    "train: train, or go on with a run, and evaluate (the default where the config has an "
    "optimizer and there is no --images). evaluate: score the test pictures at the config's "
    "thresholds. sweep: try the thresholds of config.sweep in one pass over the pictures of "
    "config.calibration, else of config.eval.pages, else of the test, and keep the best. pack: "
    "pack the data sets of config.data.train, for --config.data.format=packed. "
    "audit: look for what is wrong with word labels before they are trained on.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where results go; default exp/<config.name>. A run that is there goes on, whatever the config "
    "says now: another folder begins anew.",
)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "A name, file or checkpoint to evaluate, in place of the best checkpoint in the workdir, or "
    "of config.weights where there is none.",
)
_IMAGES = flags.DEFINE_string("images", None, "Pictures, in place of config.test.images.")
_GT = flags.DEFINE_string("gt", None, "Label files, in place of config.test.gt.")
_SKIP_BAD = flags.DEFINE_bool("skip_bad", False, "Leave out malformed lines and list them.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0, for several hosts without Slurm."
)
_PROCESS_COUNT = flags.DEFINE_integer("process_count", None, "How many processes there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
_WORKERS = flags.DEFINE_integer(
    "workers",
    None,
    "Processes that pack; 0: this one; default: one for each CPU, fewer for small sets.",
)
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
    """Runs one mode."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.WARNING)
    config = _CONFIG.value
    workdir = Path(_WORKDIR.value or f"exp/{config.name}")
    training = "optimizer" in config and not _IMAGES.value
    mode = _MODE.value or ("train" if training else "evaluate")
    try:
        if mode == "train":
            _train(config, workdir)
        elif mode == "pack":
            _pack(config)
        elif mode == "audit":
            _audit(config)
        else:
            _evaluate(config, workdir, sweeping=mode == "sweep")
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        # Our own errors say all that a user needs; a traceback would hide it.
        sys.exit(f"craftjax.main: {error}")
    except ImportError as error:
        if error.name is not None:  # ours have none: they name an extra that is missing
            raise
        sys.exit(f"craftjax.main: {error}")


def _train(config: ConfigDict, workdir: Path) -> None:
    if "optimizer" not in config:
        raise ValueError("this config has no optimizer section, so that it cannot train")
    from ocrcore.runtime.mesh import initialize_distributed

    initialize_distributed(
        coordinator=_COORDINATOR.value,
        process_count=_PROCESS_COUNT.value,
        process_id=_PROCESS_ID.value,
    )
    from craftjax.training import train_and_evaluate
    from ocrcore.data.mixing import TooManyDropped

    try:
        train_and_evaluate(config, workdir)
    except TooManyDropped as error:
        sys.exit(f"craftjax.main: {error}")


def _audit(config: ConfigDict) -> None:
    from craftjax.audit import audit_sources, audit_truth
    from craftjax.input_pipeline import InputOptions

    audits = audit_sources(InputOptions.from_config(config).train)
    if not audits:
        raise ValueError("this config has no data set of kind 'words' in config.data.train")
    bad = audit_truth({"config.eval.pages": config.eval.pages, "config.test": config.test})
    if bad or any(audit.warnings or audit.bad for audit in audits.values()):
        sys.exit(1)


def _pack(config: ConfigDict) -> None:
    from craftjax.input_pipeline import InputOptions
    from craftjax.packing import pack_all

    options = InputOptions.from_config(config)
    with Progress("packing", unit="sample") as progress:
        packed = pack_all(
            options,
            seed=config.seed,
            workers=_WORKERS.value,
            progress=lambda name, done, of: progress.update(done, of, task=f"packing {name}"),
        )
    for name, one in packed.items():
        if one is None:
            print(f"{name}: left as it is ({options.train[name].kind})")
            continue
        faults = "".join(f", {count} left out ({reason})" for reason, count in one.faults.items())
        print(
            f"{name}: {sum(one.records):,} samples, {one.size / 1e6:,.1f} MB in {len(one.records)} "
            f"files{faults}; in {options.train[name].packed_folder}"
        )
    print("train on them with --config.data.format=packed")


def _evaluate(config: ConfigDict, workdir: Path, *, sweeping: bool) -> None:
    from craftjax import evaluate
    from craftjax.detector import Detector
    from craftjax.options import (
        DetectorOptions,
        load_operating_point,
        operating_point_path,
        save_operating_point,
    )
    from craftjax.report import describe_truth
    from ocrcore.data.readers.icdar import LabelError
    from ocrcore.options import from_section

    if sweeping and "sweep" not in config:
        raise ValueError("this config has no sweep section, so that there are no thresholds to try")
    name, section = _pages(config, sweeping=sweeping)
    bad: list[LabelError] = []
    truth = evaluate.read_truth(section, bad=bad if _SKIP_BAD.value else None)
    if bad:
        print(f"left out {len(bad)} malformed lines:", *bad, sep="\n  ", file=sys.stderr)
    trained = (workdir / "checkpoints").is_dir()
    weights = _WEIGHTS.value or (not trained and config.get("weights")) or workdir
    options = from_section(DetectorOptions, config.detector, "config.detector")
    detector = Detector.from_weights(weights, options=options)
    workdir.mkdir(parents=True, exist_ok=True)
    cache = None
    if config.eval.get("keep_scores"):
        cache = evaluate.ScoreCache(
            workdir / "scores", fingerprint=detector.fingerprint, options=options
        )
    thresholds = {
        f"{name}s": tuple(config.sweep[name]) if sweeping else (getattr(options, name),)
        for name in ("text_threshold", "link_threshold", "low_text")
    }
    with tqdm(total=len(truth), unit="page", disable=None) as progress:
        points = evaluate.sweep(
            detector,
            truth,
            options=options,
            protocol=config.eval.protocol,
            cache=cache,
            report=lambda _: progress.update(),
            **thresholds,
        )
    print(f"{weights} on {name}, {describe_truth(truth)}; {config.eval.protocol}")
    print(evaluate.format_points(points[: 10 if sweeping else 1]))
    best = points[0]
    report = {
        "weights": str(weights),
        "options": dict(config.detector),
        "points": [point.to_dict() for point in points],
        "best": best.evaluation.to_dict(),
        "malformed": [str(error) for error in bad],
    }
    out = workdir / ("sweep.json" if sweeping else "evaluate.json")
    part = out.with_suffix(".part")
    part.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(out)
    print(f"written: {out}")
    if sweeping:
        tuned = replace(options, **best.thresholds)
        where = [workdir / "operating_point.json"]
        # Of a run that has not ended there is no file yet that others would load.
        ended = (workdir / "weights.pth").is_file()
        if Path(weights).exists() and (Path(weights) != workdir or ended):
            where.append(operating_point_path(weights))
        for path in where:
            save_operating_point(path, tuned, measured=best.to_dict())
            print(f"written: {path}")
    kept = operating_point_path(weights)
    if not sweeping and kept.is_file():  # last: a damaged file costs no result
        point = load_operating_point(kept)
        tuned_for = {name: getattr(point, name) for name in best.thresholds}
        if tuned_for != best.thresholds:
            given = " ".join(f"--config.detector.{name}={x:g}" for name, x in tuned_for.items())
            print(f"at the config's thresholds; {kept} has those tuned for these weights: {given}")


def _pages(config: ConfigDict, *, sweeping: bool) -> tuple[str, dict[str, Any]]:
    """What is evaluated, by name. Thresholds are not tuned on the test, where there is another."""
    if _IMAGES.value or _GT.value:
        if not (_IMAGES.value and _GT.value):
            raise ValueError("--images and --gt go together")
        layout = config.test.get("layout", "auto")
        labels = {"layout": layout, "dont_care": config.test.get("dont_care", ("###",))}
        given = {"kind": "icdar", "root": "", "images": _IMAGES.value, "gt": _GT.value}
        return "--images", {**given, **labels}
    if sweeping and "calibration" in config:
        return "config.calibration", dict(config.calibration)
    if sweeping and "pages" in config.eval:
        return "config.eval.pages", dict(config.eval.pages)
    return "config.test", dict(config.test)


if __name__ == "__main__":
    app.run(main, flags_parser=partial(parse_flags, program="craftjax.main"))
