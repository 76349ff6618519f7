"""Entry point of the recognizer: train, evaluate, or check a run before training.

Examples:
    python -m crnnjax.main --config=configs/crnn_synth.py
    python -m crnnjax.main --config=configs/custom_recognizer.py --config.data.labels=PATH
    python -m crnnjax.main --config=configs/crnn_synth.py --mode=evaluate --crops=FILE
    python -m crnnjax.main --config=configs/custom_recognizer.py --config.data.labels=PATH \
        --mode=check
"""

from __future__ import annotations

from absl import flags

from ocrcore.training.flags import experiment, refuse_idle, run_program, start_devices

_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "check"],
    "train: train or resume a run, and evaluate. evaluate: read the crops of config.test, or "
    "those of --crops. "
    "check: check the data, measure the speed of loader and train step, and overfit a single batch "
    "from the start weights.",
)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "Name, file or run directory of weights to evaluate, instead of the best checkpoint in "
    "workdir; results go to workdir/evaluate-NAME.",
)
_CROPS = flags.DEFINE_string(
    "crops",
    None,
    "Labeled crops to evaluate on, instead of config.test: a file of a path, a tab and a text on "
    "each line, a folder with labels.csv, or an LMDB.",
)
_SECONDS = flags.DEFINE_float(
    "seconds", 30.0, "How long --mode=check overfits its batch, in seconds."
)


def main() -> None:
    """Run one mode."""
    config, workdir = experiment()
    modes = {"weights": ("evaluate",), "crops": ("evaluate",), "seconds": ("check",)}
    refuse_idle(_MODE.value, modes)
    start_devices(join=_MODE.value == "train", one_arena=_MODE.value != "evaluate")
    from crnnjax import check, report, training

    if _MODE.value == "train":
        training.train(config, workdir)
    elif _MODE.value == "check":
        check.check_run(config, workdir, seconds=_SECONDS.value)
    else:
        report.evaluate_run(config, workdir, weights=_WEIGHTS.value, crops=_CROPS.value)


if __name__ == "__main__":
    run_program(main, "crnnjax.main")
