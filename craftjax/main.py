"""Entry point of the detector: check and pack data, train, evaluate and tune thresholds.

Examples:
    python -m craftjax.main --config=configs/quickstart.py --workdir=exp/mine --config.steps=500
    python -m craftjax.main --config=configs/ic15.py --images=DIR --gt=DIR
"""

import os

# Words are split in threads; OpenBLAS's own threads would make that eight times as expensive.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported

import sys

from absl import flags

from ocrcore.training.flags import experiment, overrides, refuse_idle, run_program, start_devices

_MODE = flags.DEFINE_enum(
    "mode",
    None,
    ["train", "evaluate", "sweep", "pack", "audit", "check"],
    "train: train or resume (default with config.data.train and no --images); evaluate: score as "
    "`ocrjax detect` would; sweep: try the thresholds of config.sweep on config.calibration, else "
    "eval.pages, else the test set, and keep the best if they are significantly better; pack: pack "
    "config.data.train; audit: find faults of word labels; check: draw the first training crops "
    "with their targets, and count words.",
)
_WEIGHTS = flags.DEFINE_string(
    "weights", None, "Weights to evaluate instead of the run's best checkpoint."
)
_IMAGES = flags.DEFINE_string(
    "images", None, "Folder of images to evaluate on, instead of config.test.images."
)
_GT = flags.DEFINE_string("gt", None, "Folder of label files, instead of config.test.gt.")
_SKIP_BAD = flags.DEFINE_bool(
    "skip_bad", False, "Leave out malformed lines of label files, and list them."
)
_JUDGING = ("weights", "images", "gt", "skip_bad")
_WORKERS = flags.DEFINE_integer(
    "workers", None, "Worker processes for --mode=pack; 0: pack in this process."
)
_SHARD = flags.DEFINE_string("shard", None, "Pack only share I/N of the files, I from 0.")
_BEAM_RUNNER = flags.DEFINE_string("beam_runner", None, "Pack with this runner of Apache Beam.")
_BEAM_OPTIONS = flags.DEFINE_string("beam_options", "", "Its own options, in one text.")
_MERGE = flags.DEFINE_integer("merge", None, "Join all N shares that were packed.")


_PACKING = ("workers", "shard", "merge", "beam_runner", "beam_options")


def main() -> None:
    """Run one mode."""
    config, workdir = experiment()
    mode = _MODE.value or ("train" if config.data.train and not _IMAGES.value else "evaluate")
    modes = dict.fromkeys(_JUDGING, ("evaluate", "sweep")) | dict.fromkeys(_PACKING, ("pack",))
    refuse_idle(mode, modes)
    if mode == "train":
        start_devices(join=True)
        from craftjax.training import train

        train(config, workdir)
    elif mode == "pack":
        from craftjax.packing import pack_experiment
        from ocrcore.data.shards import parse_sharing

        shard, merge = parse_sharing(_SHARD.value, _MERGE.value)
        spread = None
        if _BEAM_RUNNER.value is not None:
            from ocrcore.data.beam import beam_spread

            spread = beam_spread(_BEAM_RUNNER.value, _BEAM_OPTIONS.value)
        workers = _WORKERS.value
        pack_experiment(config, workers=workers, shard=shard, merge=merge, spread=spread)
    elif mode == "check":
        start_devices()
        from craftjax.check import check_run

        check_run(config, workdir)
    elif mode == "audit":
        from craftjax.audit import audit_experiment

        sys.exit(not audit_experiment(config))
    else:
        start_devices()
        from craftjax.tune import evaluate_run

        evaluate_run(
            config,
            workdir,
            *(_WEIGHTS.value, _IMAGES.value, _GT.value),
            skip_bad=_SKIP_BAD.value,
            sweeping=mode == "sweep",
            overrides=overrides("detector"),
        )


if __name__ == "__main__":
    run_program(main, "craftjax.main")
