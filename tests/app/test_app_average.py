"""`ocrjax average`."""

from __future__ import annotations

import numpy as np
import pytest

from ocrcore.weights.averaging import average_states
from ocrcore.weights.pth import load_weights, save_weights
from ocrjax.cli.main import _parse, _run


def state(value, steps=0, **more):
    return {
        "conv.weight": np.full((2, 3), value, np.float32),
        "bn.num_batches_tracked": np.array(steps, np.int64),
        **more,
    }


def run(*argv):
    return _run(_parse(["ocrjax", "average", *map(str, argv)]))


def test_command(tmp_path, capsys):
    paths = [tmp_path / "a.pth", tmp_path / "b.safetensors"]
    for path, one in zip(paths, (state(1.0, 5), state(3.0, 7)), strict=True):
        save_weights(path, one)
    out = tmp_path / "out.pth"
    assert run(*paths, "--shares", 1, 3, "--out", out) == 0
    assert "2 entries from 2 weights" in capsys.readouterr().out
    found = load_weights(out)
    np.testing.assert_array_equal(found["conv.weight"], np.full((2, 3), 2.5, np.float32))
    assert found["conv.weight"].dtype == np.float32
    assert found["bn.num_batches_tracked"] == 7
    assert run(*paths, "--out", out, "--force") == 0
    assert load_weights(out)["conv.weight"][0, 0] == 2
    capsys.readouterr()
    assert run(paths[0], paths[0], "--out", tmp_path / "none.pth") == 2
    assert "named twice" in capsys.readouterr().err


def test_what_cannot_be_averaged():
    one, other = state(1.0), state(3.0)
    wider = other | {"conv.weight": np.zeros((4, 3), np.float32)}
    cases = [
        ({"a": one}, None, "1 weights, expected two"),
        ({"a": one, "b": other}, [1.0], "1 shares for 2 weights"),
        ({"a": one, "b": other}, [0.0, 0.0], r"shares are \[0.0, 0.0\]"),
        ({"a": one, "b": other}, [-1.0, 2.0], "expected positive numbers"),
        ({"a": one, "b": other}, [float("nan"), 1.0], "expected positive numbers"),
        ({"a": one, "b": other}, [1e308, 1e308], "positive numbers with a finite sum"),
        ({"a": one, "b": wider}, None, r"conv.weight is \(2, 3\) in a and \(4, 3\) in b"),
        ({"a": one, "b": other | {"x": one["conv.weight"]}}, None, "x is missing in a and"),
    ]
    for states, shares, message in cases:
        with pytest.raises(ValueError, match=message):
            average_states(states, shares)
