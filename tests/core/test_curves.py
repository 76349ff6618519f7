"""The course of a run as a picture."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from ocrcore.images import read_image
from ocrcore.training.curves import write_curves

BLUE = (0x1F, 0x5A, 0xC8)


def curves(folder, rows):
    """The picture of `loss` over `eval/hmean`."""
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_curves(
        folder / "curves.png",
        folder / "metrics.jsonl",
        losses={"loss": "loss"},
        scores={"hmean": "eval/hmean"},
    )
    return read_image(folder / "curves.png")


def blue(image):
    """Where the curve is in a panel, left of the legend: `(N, 2)` x, y."""
    found = np.argwhere((image == BLUE).all(2))[:, ::-1]
    return found[found[:, 0] < 0.8 * image.shape[1]]


def test_a_falling_loss_is_straight_on_its_logarithmic_axis(tmp_path):
    rows = [{"step": s, "loss": 10 ** (-s / 1000), "eval/hmean": None} for s in range(0, 2001, 20)]
    image = curves(tmp_path / "run", rows)
    assert image.shape == (720, 960, 3)
    line = blue(image[:360])
    fit = np.polyfit(*line.T, 1)
    assert fit[0] > 0
    assert np.abs(np.polyval(fit, line[:, 0]) - line[:, 1]).max() < 4
    assert not len(blue(image[360:]))


def test_the_picture_depends_on_the_run(tmp_path):
    rows = [{"step": s, "loss": 1.0 + s, "eval/hmean": s / 100} for s in range(10)]
    one, again, other = (curves(tmp_path / name, rows) for name in ("one", "one", "other"))
    assert (one == again).all() and (one != other).any()  # the name is its title


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"step": 1, "loss": 0.5}],
        [{"step": 1, "loss": 0.0, "eval/hmean": 0.0}, {"step": 2, "loss": -1.0}],
        [{"step": 1, "loss": float("nan"), "eval/hmean": float("inf")}],
        [{"step": s, "loss": 1e-9 * 10**s} for s in range(16)],
    ],
)
def test_little_or_nothing_to_draw(tmp_path, rows):
    assert curves(tmp_path, rows).shape == (720, 960, 3)


def test_only_drawing_imports_matplotlib():
    code = "import sys, ocrcore.training.curves; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
