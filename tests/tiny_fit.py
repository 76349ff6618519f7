"""`ocrjax fit` in small: photos, start weights, and a program that fits them in half a minute.

python tiny_fit.py FOLDER OUT
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tiny_words import write_words

from craftjax.convert import to_state_dict as craft_state
from craftjax.models import CRAFT
from craftjax.models import init_variables as craft_variables
from crnnjax.charset import named
from crnnjax.convert import to_state_dict as crnn_state
from crnnjax.models import CRNN
from crnnjax.models import init_variables as crnn_variables
from crnnjax.options import RecognizerOptions
from ocrcore.files import write_json
from ocrcore.weights.pth import save_weights
from ocrjax.fitting import detector_run, recognizer_run

STEPS = {"detector_steps": 6, "recognizer_steps": 8}


def write_toy(folder: Path, count: int = 12) -> dict[str, Any]:
    """Writes photos and random start weights; returns the arguments of `ocrjax.fit`."""
    write_words(folder / "photos", count)
    save_weights(folder / "detector.pth", craft_state(craft_variables(CRAFT(width=0.125))))
    start = folder / "start"
    tiny = crnn_variables(CRNN(37, channels=16, hidden=8))
    save_weights(start / "recognizer.pth", crnn_state(tiny))
    named("en36").save(start / "charset.json")
    options = asdict(RecognizerOptions(batch_size=4))
    write_json(start / "config.json", {"data": {"height": 32}, "recognizer": options})
    return arguments(folder)


def arguments(folder: Path) -> dict[str, Any]:
    """The arguments of `ocrjax.fit` for a folder of `write_toy`."""
    return {
        "data": folder / "photos",
        "detector": str(folder / "detector.pth"),
        "recognizer": str(folder / "start" / "recognizer.pth"),
        **STEPS,
    }


def shrink() -> None:
    """Makes trainings small, and trusts a teacher of random weights."""
    full_detector, full_recognizer = detector_run.detector_config, recognizer_run.recognizer_config

    def detector_config(*given: Any, **changes: Any) -> Any:
        config = full_detector(*given, **changes)
        config.data.size = 64
        config.loss.n_min_neg = 100
        config.pseudo.update(height=32)
        config.pseudo.guard.update(confidence=0.0, mass=0.0, equal=1.0, hmean=0.0)
        page = config.data.train.synth.page
        page.update(height=64, width=64, font_size=(12, 24), words=(1, 3))
        config.optimizer.warmup = 2
        config.checkpoint.every = 1
        return config

    def recognizer_config(*given: Any, **changes: Any) -> Any:
        config = full_recognizer(*given, **changes)
        config.batch_size = 4
        config.data.update(max_length=6, widths=(64, 96), window=4)
        config.optimizer.warmup = 2
        config.checkpoint.every = 1
        return config

    detector_run.detector_config = detector_config
    recognizer_run.recognizer_config = recognizer_config


def main() -> None:
    import ocrjax
    from ocrcore.runtime.tuning import tune_process

    tune_process()
    shrink()
    folder, out = map(Path, sys.argv[1:])
    found = ocrjax.fit(out=out, **arguments(folder))
    sys.exit(0 if found else 130)


if __name__ == "__main__":
    main()
