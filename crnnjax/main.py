"""Entry point of the recognizer: trains it, evaluates it, or looks a run over beforehand.

Examples:
    python -m crnnjax.main --config=configs/crnn_synth.py
    python -m crnnjax.main --config=configs/crnn_rec_train.py --config.data.labels=FILE
    python -m crnnjax.main --config=configs/crnn_synth.py --mode=evaluate --crops=FILE
    python -m crnnjax.main --config=configs/crnn_rec_train.py --mode=check
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from ocrcore.training.flags import parse_flags

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment: a file of configs/.", lock_config=True
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "check"],
    "train: train, or go on with a run, and evaluate. evaluate: read the crops of config.test, or "
    "those of --crops. "
    "check: look at the data, measure loader and step, and learn one batch by heart.",
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; default exp/<config.name>.")
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "A name, file or run to evaluate, in place of the best checkpoint in workdir; the results go "
    "to workdir/evaluate-NAME.",
)
_CROPS = flags.DEFINE_string(
    "crops",
    None,
    "Labeled crops to evaluate on, in place of config.test: a file of a path, a tab and a text on "
    "each line, a folder with labels.csv, or an LMDB.",
)
_SECONDS = flags.DEFINE_float("seconds", 30.0, "How long check learns its batch.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0, for several hosts without Slurm."
)
_PROCESS_COUNT = flags.DEFINE_integer("process_count", None, "How many processes there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
    """Runs one mode."""
    from ocrcore.data.mixing import TooManyDropped

    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.WARNING)
    config = _CONFIG.value
    workdir = Path(_WORKDIR.value or f"exp/{config.name}")
    try:
        {"train": _train, "evaluate": _evaluate, "check": _check}[_MODE.value](config, workdir)
    except (ValueError, FileNotFoundError, FloatingPointError, TooManyDropped) as error:
        # Our own errors say all that a user needs; a traceback would hide it.
        sys.exit(f"crnnjax.main: {error}")
    except ImportError as error:
        if error.name is not None:  # ours have none: they name an extra that is missing
            raise
        sys.exit(f"crnnjax.main: {error}")


def _train(config: ConfigDict, workdir: Path) -> None:
    from ocrcore.runtime.mesh import initialize_distributed

    initialize_distributed(
        coordinator=_COORDINATOR.value,
        process_count=_PROCESS_COUNT.value,
        process_id=_PROCESS_ID.value,
    )
    from crnnjax.training import train_and_evaluate

    train_and_evaluate(config, workdir)


def _evaluate(config: ConfigDict, workdir: Path) -> None:
    from crnnjax.crop_index import kind_of, open_crops
    from crnnjax.evaluate import evaluate_recognizer, results_folder
    from crnnjax.input_pipeline import InputOptions
    from crnnjax.recognizer import Recognizer, RecognizerOptions
    from crnnjax.report import open_sets
    from ocrcore.options import from_section

    if _CROPS.value:
        path = Path(_CROPS.value)
        sets = {path.stem: open_crops(kind_of(path), path)}
    else:
        options = InputOptions.from_config(config)
        sets = open_sets(config.test, field="config.test", options=options)
    weights = _WEIGHTS.value or workdir
    recognizer = Recognizer.from_weights(
        weights,
        options=from_section(RecognizerOptions, config.recognizer, "config.recognizer"),
    )
    folder = results_folder(workdir, _WEIGHTS.value)
    if _CROPS.value:
        folder /= path.stem
    evaluate_recognizer(recognizer, sets, weights=weights, folder=folder)


def _check(config: ConfigDict, workdir: Path) -> None:
    from crnnjax.check import check_run

    check_run(config, workdir, seconds=_SECONDS.value)


if __name__ == "__main__":
    app.run(main, flags_parser=partial(parse_flags, program="crnnjax.main"))
