"""What the programs ask of a GPU, at toy size: nothing here needs one."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnnjax.lstm import project
from ocrcore.layers import add_bias

GPU = Path(__file__).parents[2] / "benchmarks" / "gpu"
sys.path.insert(0, str(GPU))
programs = importlib.import_module("programs")
sys.path.remove(str(GPU))


@pytest.fixture(scope="module", params=programs.NAMES)
def named(request):
    """A program's name and what is in it; tensors of a few KiB count as large."""
    return request.param, programs.look(*programs.lower(request.param, toy=True), large=1 << 12)


def test_the_bfloat16_path_has_no_float32_islands(named):
    name, found = named
    assert found["float32_convolutions"] == []
    assert sum(found["convolutions"].values()) >= 7
    # Classes and the loss of the recognizer are float32 on purpose, the latter at full precision.
    islands = found["float32_products"]
    assert all("Prediction" in one["place"] or one["exact"] for one in islands)
    assert bool(islands) == name.startswith("recognizer")
    assert found["bfloat16_sums"] == []


def test_layouts_are_those_of_the_device(named):
    assert programs.row(named[1])["of these not NHWC"] == 0


def test_nothing_leaves_the_device(named):
    _, found = named
    assert programs.callbacks(found) == [] and found["constants"] == []
    assert found["operations"]["sort"] == found["operations"]["select_and_scatter"] == 0


def test_all_of_the_state_is_donated(named):
    name, found = named
    assert found["donated"] == found["state_arrays"]
    assert (found["state_arrays"] > 0) == name.endswith("step")


def test_gates_and_losses_loop_a_known_number_of_times(named):
    name, found = named
    trips = [one["trips"] for one in found["loops"]]
    wanted = {"detector step": [31], "recognizer step": [24] * 6, "recognizer forward": [24] * 2}
    assert trips == wanted.get(name, [])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_written_gradients_are_those_that_jax_derives(dtype):
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.standard_normal((3, 4, 5)), dtype) for _ in range(2))
    bias, kernel = (jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in (5, (5, 6)))
    kernel, onto = kernel.astype(dtype), jnp.asarray(rng.standard_normal((3, 4, 6)), jnp.float32)

    def biased(x, bias):
        return x + bias.astype(dtype)

    def projected(x, kernel):
        return jnp.dot(x, kernel, preferred_element_type=jnp.float32)

    for ours, plain, arguments, gradient in (
        (add_bias, biased, (x, bias), y),
        (project, projected, (x, kernel), onto),
    ):
        (value, back), (want, derived) = (jax.vjp(one, *arguments) for one in (ours, plain))
        np.testing.assert_array_equal(value, want)
        assert value.dtype == want.dtype
        for got, expected in zip(back(gradient), derived(gradient), strict=True):
            assert got.dtype == expected.dtype
            got, expected = (np.asarray(one, np.float32) for one in (got, expected))
            off = 0 if dtype == jnp.float32 else 0.02 * np.abs(expected).max()
            np.testing.assert_allclose(got, expected, rtol=0, atol=off)


def test_what_is_looked_for_is_found():
    def poor(x, kernel, narrow):
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
        )
        x = jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
        table = jnp.arange(2048, dtype=jnp.float32) @ jnp.ones((2048, 1))
        total = jax.lax.reduce(narrow, jnp.bfloat16(0), jax.lax.add, (0,))
        return jnp.sort(x @ x) + table.sum(), total

    arrays = jnp.ones((1, 3, 32, 32)), jnp.ones((3, 3, 3, 3)), jnp.ones((4096,), jnp.bfloat16)
    # A callback is lowered for a device that is there only.
    found = programs.look(jax.jit(poor).lower(*arrays), large=1 << 12)
    row = programs.row(found)
    assert row["of these not NHWC"] == row["of these float32"] == row["convolutions"] == 1
    assert row["callbacks"] == row["sorts"] == row["long sums in bfloat16"] == 1
    assert row["of these float32 and large"] == 1 and not found["float32_products"][0]["exact"]
    assert found["donated"] == 0
    assert found["gflop"] == pytest.approx((2 * 27 * 3 + 2 * 32 * 3) * 32 * 32e-9, abs=1e-3)
