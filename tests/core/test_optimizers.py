from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from ocrcore.options import OptionsError
from ocrcore.training.optimizer_options import OptimizerError, OptimizerOptions
from ocrcore.training.optimizers import make_optimizer, make_schedule, matches

START = np.array([0.5, -1.25, 2.0, 0.001], np.float32)
# Gradients of three steps: large, tiny, none.
GRADIENTS = np.array(
    [[0.3, -2.0, 1e-5, 0.0], [-0.1, 4.0, 2e-5, 0.0], [0.25, 0.5, -3e-5, 1e-3]], np.float32
)
# Case: torch's class and its settings, ours, and where torch 2.13 got to from START by GRADIENTS.
TORCH = {
    "adam": (
        ("Adam", {"weight_decay": 1e-5}),
        {"name": "adam", "weight_decay": 1e-5},
        [0.479607433, -1.24718368, 1.97375977, -0.00622153096],
    ),
    "adam with a large eps": (
        ("Adam", {"betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
        {"name": "adam", "b1": 0.5, "b2": 0.9, "eps": 1e-3, "weight_decay": 0.1},
        [0.478911608, -1.24994731, 1.97017479, -0.00387077127],
    ),
    "adamw": (
        ("AdamW", {"weight_decay": 0.1}),
        {"name": "adamw", "weight_decay": 0.1},
        [0.478133231, -1.24345374, 1.97506571, -0.00539102126],
    ),
    "adadelta": (
        ("Adadelta", {"lr": 1.0, "rho": 0.95, "eps": 1e-8}),
        {"name": "adadelta", "learning_rate": 1.0, "b2": 0.95, "eps": 1e-8},
        [0.499337733, -1.25021803, 1.99999988, 0.000591751712],
    ),
    "rmsprop": (
        ("RMSprop", {"momentum": 0.9, "weight_decay": 1e-2}),
        {"name": "rmsprop", "momentum": 0.9, "weight_decay": 1e-2},
        [0.223829657, -1.15973699, 1.54418945, -0.0904238895],
    ),
    "sgd": (
        ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-2}),
        {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2},
        [0.487243325, -1.29812026, 1.9983902, 0.00098019524],
    ),
}


def descend(options: OptimizerOptions, gradients=GRADIENTS) -> np.ndarray:
    optimizer, _ = make_optimizer(options, steps=100)
    params = {"w": jnp.asarray(START)}
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update({"w": jnp.asarray(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
    return np.asarray(params["w"])


@pytest.mark.parametrize("case", TORCH)
def test_equal_to_torch(case):
    _, settings, expected = TORCH[case]
    got = descend(OptimizerOptions(**{"learning_rate": 1e-2} | settings))
    np.testing.assert_allclose(got, np.float32(expected), rtol=1e-6, atol=5e-8)


@pytest.mark.parametrize("case", TORCH)
def test_the_frozen_numbers_are_those_of_torch(case):
    torch = pytest.importorskip("torch")
    (name, settings), _, expected = TORCH[case]
    weight = torch.nn.Parameter(torch.tensor(START))
    optimizer = getattr(torch.optim, name)([weight], **{"lr": 1e-2} | settings)
    for gradient in GRADIENTS:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-6)


def rates(options, steps, at):
    schedule = make_schedule(options, steps=steps)
    return [float(schedule(count)) for count in at]


def test_step_decay_is_the_original_s():
    """lr x gamma^k from the step on whose index is k x decay_every."""
    options = OptimizerOptions(learning_rate=1e-4, schedule="step", decay_every=15000, gamma=0.2)
    at = [0, 14999, 15000, 29999, 30000, 45000, 49999]
    expected = [1e-4 * 0.2 ** (count // 15000) for count in at]
    np.testing.assert_allclose(rates(options, 50000, at), expected, rtol=1e-6)


def test_settings_without_an_effect_are_named(caplog):
    make_optimizer(OptimizerOptions(momentum=0.9, final=0.1, no_decay=("a",)), steps=9)
    assert [text.split()[0] for text in caplog.messages] == [
        f"config.optimizer.{name}" for name in ("no_decay", "momentum", "final")
    ]
    caplog.clear()
    used = {"name": "sgd", "momentum": 0.9, "schedule": "step", "decay_every": 3, "gamma": 0.1}
    make_optimizer(OptimizerOptions(**used, weight_decay=0.1, no_decay=("a",)), steps=9)
    assert not caplog.messages


def test_warm_up_and_cosine(caplog):
    options = OptimizerOptions(learning_rate=0.5, schedule="cosine", warmup=4, final=0.1)
    got = rates(options, 14, [0, 1, 3, 4, 9, 14, 20])
    np.testing.assert_allclose(got, [0.125, 0.25, 0.5, 0.5, 0.275, 0.05, 0.05], rtol=1e-6)
    options = OptimizerOptions(learning_rate=0.5, warmup=2)
    np.testing.assert_allclose(rates(options, 2, [0, 1, 2, 99]), [0.25, 0.5, 0.5, 0.5])
    assert not caplog.records
    for schedule, steps in (("cosine", 20), ("cosine", 30), ("constant", 20)):
        options = OptimizerOptions(learning_rate=0.5, schedule=schedule, warmup=30)
        got = rates(options, steps, [0, steps // 10])
        np.testing.assert_allclose(got, [0.5 / (steps // 10), 0.5], rtol=1e-6)
        assert f"the run has {steps} updates" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
def test_the_rate_of_the_log_needs_no_device(schedule):
    options = OptimizerOptions(
        learning_rate=0.5, schedule=schedule, warmup=3, decay_every=4, gamma=0.3, final=0.1
    )
    rate = make_schedule(options, steps=12)
    traced = jax.jit(rate)
    for count in range(14):
        assert not isinstance(rate(count), jax.Array)
        np.testing.assert_allclose(rate(count), traced(count), rtol=1e-6)
        assert rate(count).dtype == traced(count).dtype == np.float32


def test_the_optimizer_follows_its_schedule():
    options = OptimizerOptions(
        name="sgd", learning_rate=1.0, schedule="step", decay_every=2, gamma=0.5
    )
    got = descend(options)
    rate = np.array([1, 1, 0.5], np.float32)[:, None]
    np.testing.assert_allclose(got, START - (rate * GRADIENTS).sum(0), rtol=1e-6)


def test_long_gradients_are_clipped_before_decay():
    options = OptimizerOptions(name="sgd", learning_rate=1.0, clip_norm=1.0, weight_decay=0.1)
    got = descend(options, GRADIENTS[:1])
    shorter = GRADIENTS[0] / np.linalg.norm(GRADIENTS[0])
    np.testing.assert_allclose(got, START - (shorter + 0.1 * START), rtol=1e-6)


def network():
    ones = jnp.ones(2)
    return {
        "encoder": {"slice1": {"kernel": ones, "bias": ones}, "slice10": {"bias": ones}},
        "head": {"kernel": ones, "bias": ones},
    }


def one_update(**settings):
    optimizer, _ = make_optimizer(OptimizerOptions(**settings), steps=1)
    params = network()
    state = optimizer.init(params)
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): float(leaf[0])
        for path, leaf in jax.tree_util.tree_leaves_with_path(updates)
    }, state


def test_frozen_parts_get_no_update_no_decay_and_no_state():
    got, state = one_update(
        name="sgd",
        learning_rate=1.0,
        momentum=0.5,
        weight_decay=0.5,
        clip_norm=1.0,
        freeze=("encoder/slice1", "*/slice10"),
    )
    clipped = 1 / np.sqrt(4)  # the norm over the head alone
    assert got == {
        "encoder/slice1/kernel": 0,
        "encoder/slice1/bias": 0,
        "encoder/slice10/bias": 0,
        "head/kernel": -(clipped + 0.5),
        "head/bias": -(clipped + 0.5),
    }
    assert sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim) == 4


def test_some_parameters_without_decay():
    # The pattern's only match is frozen as well, which is no mistake.
    got, _ = one_update(
        name="sgd",
        learning_rate=1.0,
        weight_decay=0.5,
        freeze=("encoder/slice10",),
        no_decay=("*/bias", "encoder/slice10"),
    )
    assert got["head/kernel"] == got["encoder/slice1/kernel"] == -1.5
    assert got["head/bias"] == got["encoder/slice1/bias"] == -1.0


def test_parts_with_learning_rates_of_their_own():
    got, state = one_update(
        name="sgd",
        learning_rate=1.0,
        weight_decay=0.5,
        freeze=("encoder/slice10",),
        rates=(("*/slice1/bias", 0.25), ("encoder", 0.5)),
    )
    assert got == {
        "encoder/slice1/kernel": -0.75,
        "encoder/slice1/bias": -0.375,
        "encoder/slice10/bias": 0,
        "head/kernel": -1.5,
        "head/bias": -1.5,
    }
    _, without = one_update(name="sgd", learning_rate=1.0, freeze=("encoder/slice10",))
    assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(without))


def test_patterns():
    assert matches("encoder/slice1/conv0/kernel", "encoder/slice1")
    assert matches("encoder/slice1/conv0/kernel", "encoder/slice1/")
    assert matches("encoder/slice1/conv0/kernel", "encoder/slice[12]/*/kernel")
    assert not matches("encoder/slice10/kernel", "encoder/slice1")
    assert not matches("encoder/slice1/kernel", "slice1")
    for field in ("freeze", "no_decay"):
        optimizer, _ = make_optimizer(OptimizerOptions(**{field: ("head/kernal",)}), steps=1)
        with pytest.raises(OptimizerError, match=rf"{field}: 'head/kernal' .* are head/kernel"):
            optimizer.init(network())
    optimizer, _ = make_optimizer(OptimizerOptions(rates=(("head/kernal", 0.1),)), steps=1)
    with pytest.raises(OptimizerError, match=r"rates: 'head/kernal' matches no parameter"):
        optimizer.init(network())


def test_options_from_a_config():
    section = ConfigDict({"name": "adamw", "freeze": ["encoder"], "clip_norm": 5.0})
    expected = OptimizerOptions(name="adamw", freeze=("encoder",), clip_norm=5.0)
    assert OptimizerOptions.from_config(section) == expected
    pairs = OptimizerOptions.from_config({"rates": [["head", 0.5]]})  # as JSON has them
    assert pairs == OptimizerOptions(rates=(("head", 0.5),))
    with pytest.raises(OptionsError, match=r"^config.optimizer.rates is .*, expected tuple"):
        OptimizerOptions.from_config({"rates": (("head", "slow"),)})
    with pytest.raises(OptionsError, match=r"config.optimizer.weight_decy .* mean weight_decay"):
        OptimizerOptions.from_config({"weight_decy": 1})
    with pytest.raises(OptionsError, match=r"^config.optimizer.b1 is 2.0, expected 0 or more and"):
        OptimizerOptions.from_config({"b1": 2.0})


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "lion"},
        {"schedule": "linear"},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"b1": 1.0},
        {"b2": -0.1},
        {"eps": 0.0},
        {"momentum": 1.0},
        {"nesterov": True},
        {"warmup": -1},
        {"decay_every": 0, "schedule": "step"},
        {"gamma": 0.0},
        {"final": 2.0},
        {"clip_norm": 0.0},
        {"accumulate": 0},
        {"rates": (("head", 0.0),)},
    ],
)
def test_impossible_options_name_their_field(bad):
    field, value = next(iter(bad.items()))
    with pytest.raises(OptimizerError, match=rf"^{field} is {re.escape(repr(value))}, expected"):
        OptimizerOptions(**bad)
