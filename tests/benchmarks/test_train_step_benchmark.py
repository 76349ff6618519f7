from __future__ import annotations

import importlib
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from craftjax.convert import to_state_dict
from craftjax.models import CRAFT, init_variables
from craftjax.training import make_loss, make_train_step
from ocrcore.runtime.mesh import make_mesh, put_batch
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.state import create_state

torch = pytest.importorskip("torch")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
torch_craft, train_step = (importlib.import_module(name) for name in ("torch_craft", "train_step"))
sys.path.remove(str(BENCHMARKS))

WIDTH = 0.125
LOSS = {"neg_rto": 1.0, "n_min_neg": 40}
# A large eps: a first step of Adam with a small one is only the gradients' signs.
RATE, DECAY, EPS = 1e-3, 0.1, 1e-3


def assert_equal(trees, *, tolerance):
    """State dicts of the two sides, to a share of the largest value of each entry."""
    ours, theirs = trees
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if not name.endswith("num_batches_tracked"):
            scale = max(np.abs(value).max(), 1e-3)
            np.testing.assert_allclose(
                value, theirs[name], rtol=0, atol=tolerance * scale, err_msg=name
            )


def arrays(named):
    return {name: value.detach().numpy() for name, value in named}


def test_the_mirror_is_our_step():
    variables = init_variables(CRAFT(WIDTH), seed=1)
    batch = train_step.make_batch(2, 64)
    batch["region"][1] = 0  # a map without text
    batch["confidence"][0, :9] = 0.5
    options = OptimizerOptions(name="adam", learning_rate=RATE, weight_decay=DECAY, eps=EPS)
    optimizer, _ = make_optimizer(options, steps=9)
    mesh = make_mesh(jax.devices()[:1])
    loss = make_loss({"version": 3, **LOSS})
    step = make_train_step(CRAFT(WIDTH), optimizer, mesh=mesh, loss=loss, options=options)
    state = create_state(variables, optimizer, mesh=mesh, ema=False)
    state, metrics = step(state, put_batch(batch, mesh))

    network = torch_craft.make_network(to_state_dict(variables), width=WIDTH)
    adam = {"lr": RATE, "weight_decay": DECAY, "eps": EPS}
    mirror, moments = torch_craft.make_step(network, loss=LOSS, optimizer=adam)
    tensors = torch_craft.make_batch(batch)
    value = mirror(tensors)
    total, count = metrics["loss"]
    assert value == pytest.approx(float(total / count), rel=1e-5)

    # The first mean of the gradients is a tenth of them, with the weight decay.
    means = [x for x in jax.tree.leaves(state.opt_state, is_leaf=lambda x: hasattr(x, "mu"))]
    (mean,) = (x.mu for x in means if hasattr(x, "mu"))
    ours = to_state_dict({"params": mean, "batch_stats": state.batch_stats})
    theirs = {name: moments.state[p]["exp_avg"] for name, p in network.named_parameters()}
    assert_equal(({name: ours[name] for name in theirs}, arrays(theirs.items())), tolerance=2e-4)
    found = to_state_dict(jax.device_get(state.variables))
    assert_equal((found, arrays(network.state_dict().items())), tolerance=2e-4)
    moved = found["basenet.slice1.0.weight"] - to_state_dict(variables)["basenet.slice1.0.weight"]
    assert np.abs(moved).max() > 0.1 * RATE

    network.eval()
    with torch.no_grad():
        scores = network(tensors["image"]).numpy()
    expected, _ = jax.jit(CRAFT(WIDTH).apply)(jax.device_get(state.variables), batch["image"])
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-4 * np.abs(expected).max())


def test_the_mirrors_loss_has_the_cases_of_the_original():
    batch, size = 3, 24
    rng = np.random.default_rng(0)
    labels, scores, mask = rng.random((3, batch, size, size), np.float32)
    labels[0] = 0.05  # no text
    labels[1] = np.maximum(labels[1], 0.2)
    labels[1, 0, :3] = 0.0  # less than enough of the rest
    ours, _ = make_loss({"version": 3, **LOSS})(labels, labels, scores, scores, mask)
    tensors = (torch.from_numpy(x) for x in (labels, scores, mask))
    theirs = torch_craft.loss_v3(*tensors, LOSS["neg_rto"], LOSS["n_min_neg"])
    assert 2 * float(theirs) == pytest.approx(float(ours), rel=1e-5)
