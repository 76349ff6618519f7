from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from craftjax.losses import loss_v2, loss_v3, sum_of_largest

LOSSES = {2: loss_v2, 3: loss_v3}
SHAPE = (2, 6, 7)  # of what hypothesis makes, always the same so that it is compiled once


def random_maps(seed: int, shape: tuple[int, int, int] = SHAPE) -> list[np.ndarray]:
    """Labels, predictions and a mask, with ties, exact thresholds and images of one kind only."""
    rng = np.random.default_rng(seed)
    levels = np.array([0, 0.05, 0.1, 0.5, 1], np.float32)
    labels = [levels[rng.integers(0, 5, shape)] * rng.integers(0, 2, shape) for _ in range(2)]
    labels[0][0] = rng.choice([0, 1, labels[0][0, 0, 0]])
    preds = [rng.choice([rng.normal(0, 1, shape), levels[rng.integers(0, 5, shape)]]) for _ in "ab"]
    mask = rng.choice([0, 0.5, 1], shape, p=[0.2, 0.2, 0.6])
    return [np.asarray(a, np.float32) for a in (*labels, *preds, mask)]


def hardest(errors: np.ndarray, size: float, total: int) -> float:
    size = min(size, total)
    return float(np.sort(errors.ravel())[::-1][: int(size)].sum() / size) if size else 0.0


def written_out(version: int, maps: list[np.ndarray], neg_rto: float, n_min_neg: int, all_: bool):
    """The formulas of the specification in loops, float64."""
    *_, mask = maps
    groups = [np.s_[:]] if version == 2 else [np.s_[i] for i in range(len(mask))]
    out = 0.0
    for label, pred in (maps[0], maps[2]), (maps[1], maps[3]):
        for group in groups:
            y, counts = label[group], (mask[group] > 0) | all_
            error = (pred[group].astype(np.float64) - y) ** 2 * mask[group]
            positive = (y > np.float32(0.1) if version == 2 else y >= np.float32(0.1)) & counts
            negative = counts & ~positive
            p, n, wanted = positive.sum(), negative.sum(), np.float32(neg_rto) * positive.sum()
            if version == 2:
                size = wanted if p and n >= wanted else n_min_neg
            else:
                size = n if p and n < wanted else max(n_min_neg, wanted)
            out += error[positive].sum() / max(p, 1) / len(groups)
            out += hardest(error * negative, size, counts.sum()) / len(groups)
    return out


@partial(jax.jit, static_argnames=("version", "neg_rto", "n_min_neg", "count_masked"))
def value_and_gradients(maps, *, version, neg_rto, n_min_neg, count_masked=True):
    def loss(region, affinity):
        return LOSSES[version](
            maps[0],
            maps[1],
            region,
            affinity,
            maps[4],
            neg_rto=neg_rto,
            n_min_neg=n_min_neg,
            count_masked=count_masked,
        )

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(maps[2], maps[3])


# The original


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("case", range(5))
def test_losses_are_those_of_the_original(golden, version, case):
    maps = [golden[f"loss_{name}"] for name in ("lab_r", "lab_a", "pr", "pa", "mask")]
    neg_rto, n_min_neg, expected = golden[f"loss_v{version}_{case}"].tolist()
    (loss, metrics), (gradient, _) = value_and_gradients(
        maps, version=version, neg_rto=neg_rto, n_min_neg=int(n_min_neg)
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    wanted = golden[f"loss_v{version}_{case}_grad"]
    assert np.abs(wanted).max() > 1e-5
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-10)
    parts = [total / count for total, count in metrics.values()]
    assert sum(map(float, parts[:2])) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=30)
@given(
    st.integers(0, 1 << 32),
    st.sampled_from([2, 3]),
    st.sampled_from([(0.3, 5), (1, 1), (3, 20), (200, 3), (0, 1000)]),
    st.booleans(),
)
def test_losses_are_their_formulas(seed, version, options, count_masked):
    neg_rto, n_min_neg = options
    maps = random_maps(seed)
    (loss, _), gradients = value_and_gradients(
        maps, version=version, neg_rto=neg_rto, n_min_neg=n_min_neg, count_masked=count_masked
    )
    expected = written_out(version, maps, neg_rto, n_min_neg, count_masked)
    assert float(loss) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


# Where the original fails


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("count_masked", [True, False])
@pytest.mark.parametrize("fill", ["all positive", "all negative", "all masked", "tiny"])
def test_losses_are_finite(version, count_masked, fill):
    shape = (2, 1, 1) if fill == "tiny" else (2, 8, 8)
    label = np.full(shape, fill == "all positive", np.float32)
    mask = np.full(shape, fill != "all masked", np.float32)
    pred = np.full(shape, 0.5, np.float32)
    (loss, _), gradients = value_and_gradients(
        [label, label, pred, pred, mask],
        version=version,
        neg_rto=1.0,
        n_min_neg=10**6,
        count_masked=count_masked,
    )
    # Every pixel that counts is off by one half.
    assert float(loss) == pytest.approx(0 if fill == "all masked" else 2 * 0.25)
    sign = -1 if fill == "all positive" else 1
    for gradient in gradients:
        share = 0 if fill == "all masked" else sign / label.size
        np.testing.assert_allclose(gradient, share, rtol=1e-5)


@pytest.mark.parametrize("version", [2, 3])
def test_not_a_number_is_not_hidden(version):
    maps = random_maps(1)
    for bad in (np.nan, -np.nan, np.inf):
        maps[2][0, 2, 3] = bad
        (loss, _), _ = value_and_gradients(maps, version=version, neg_rto=0.3, n_min_neg=1)
        assert not np.isfinite(loss)


# Options


@pytest.mark.parametrize("version", [2, 3])
def test_masked_pixels_leave_the_counts(version):
    """Then a page with a masked border has the loss of the page without it."""
    inner = random_maps(3, (2, 9, 8))
    inner[4] = np.maximum(inner[4], 0.5)
    rng = np.random.default_rng(0)
    outer = [np.asarray(rng.random((2, 20, 21)), np.float32) for _ in inner]
    outer[4][:] = 0
    for large, small in zip(outer, inner, strict=True):
        large[:, 4:13, 5:13] = small
    options = {"version": version, "neg_rto": 1.5, "n_min_neg": 100}
    (bare, metrics), _ = value_and_gradients(inner, **options)
    (same, _), _ = value_and_gradients(inner, **options, count_masked=False)
    (less, padded), _ = value_and_gradients(outer, **options, count_masked=False)
    (more, _), _ = value_and_gradients(outer, **options)
    assert float(bare) == float(same) == pytest.approx(float(less), rel=1e-6)
    assert float(more) != pytest.approx(float(bare), rel=1e-2)
    assert float(metrics["positive_share"][1]) == float(padded["positive_share"][1]) == 288


def test_metrics_are_sums_and_counts():
    maps = random_maps(5)
    (_, metrics), _ = value_and_gradients(maps, version=3, neg_rto=1.0, n_min_neg=5)
    assert set(metrics) == {"positive_loss", "negative_loss", "positive_share"}
    total, count = metrics["positive_share"]
    assert float(count) == 2 * maps[4].size
    assert float(total) == sum((m >= np.float32(0.1)).sum() for m in maps[:2])
    assert float(metrics["negative_loss"][1]) == len(maps[4])


def test_half_precision_predictions_are_compared_in_float32():
    maps = random_maps(7)
    half = [*maps[:2], *(jnp.asarray(m, jnp.bfloat16) for m in maps[2:4]), maps[4]]
    full = [*maps[:2], *(m.astype(jnp.float32) for m in half[2:4]), maps[4]]
    for version in (2, 3):
        options = {"version": version, "neg_rto": 1.0, "n_min_neg": 5}
        (loss, _), gradients = value_and_gradients(half, **options)
        assert loss.dtype == jnp.float32 and gradients[0].dtype == jnp.bfloat16
        assert float(loss) == float(value_and_gradients(full, **options)[0][0])


@pytest.mark.parametrize("loss", [loss_v2, loss_v3])
def test_wrong_input_is_named(loss):
    maps = random_maps(0)
    with pytest.raises(ValueError, match=r"affinity_pred has shape \(6, 7\)"):
        loss(*maps[:3], maps[3][0], maps[4], neg_rto=1, n_min_neg=1)
    with pytest.raises(ValueError, match="neg_rto is -1"):
        loss(*maps, neg_rto=-1, n_min_neg=1)
    with pytest.raises(ValueError, match="n_min_neg is 0"):
        loss(*maps, neg_rto=1, n_min_neg=0)


# The search

largest = jax.jit(
    lambda values, k: jax.value_and_grad(lambda v: sum_of_largest(v, k, axis=(1, 2)).sum())(values)
)
rows = jax.jit(partial(sum_of_largest, axis=(1, 2)))


@settings(max_examples=60)
@given(st.integers(0, 1 << 32), st.integers(0, 42), st.integers(0, 42))
def test_sum_of_largest_is_that_of_a_sort(seed, first, second):
    rng = np.random.default_rng(seed)
    kinds = [
        rng.random(SHAPE),
        rng.integers(0, 3, SHAPE),
        np.zeros(SHAPE),
        np.exp(rng.uniform(-80, 80, SHAPE)),
        rng.choice([0, 1e-40, 1e-45, 3.0, np.inf], SHAPE),
    ]
    values = np.asarray(kinds[rng.integers(0, 5)], np.float32)
    k = np.array([first, second], np.int32)
    ordered = -np.sort(-values.reshape(2, -1).astype(np.float64))
    expected = [row[:n].sum() for row, n in zip(ordered, k, strict=True)]
    found = rows(values, k[:, None, None])
    finite = np.isfinite(values).all(axis=(1, 2))
    # XLA may take denormal numbers for zeros.
    np.testing.assert_allclose(found[finite], np.array(expected)[finite], rtol=1e-6, atol=1e-37)
    assert not np.isfinite(found[~np.isfinite(expected)]).any()


@settings(max_examples=60)
@given(st.integers(0, 1 << 32), st.integers(0, 42))
def test_the_gradient_goes_to_the_selected(seed, k):
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 6, SHAPE).astype(np.float32)
    count = np.full((2, 1, 1), k, np.int32)
    total, gradient = largest(values, count)
    for row, share in zip(values, np.asarray(gradient), strict=True):
        ordered = -np.sort(-row.ravel())
        threshold = ordered[k - 1] if k else np.inf
        assert (share[row > threshold] == 1).all() and (share[row < threshold] == 0).all()
        assert len(np.unique(share[row == threshold])) <= 1
        assert float(share.sum()) == pytest.approx(k, rel=1e-6)
    assert float((gradient * values).sum()) == pytest.approx(float(total), rel=1e-6)


# Several devices


@pytest.mark.parametrize("version", [2, 3])
def test_a_sharded_batch_has_the_loss_of_one_device(version):
    if jax.device_count() < 4:
        pytest.skip("fewer than four devices")
    maps = random_maps(11, (8, 16, 12))
    maps[0][2:4] = maps[1][2:4] = 0  # one device has no text at all
    maps[0][4:6] = 1  # another has nothing else
    options = {"version": version, "neg_rto": 0.7, "n_min_neg": 50}
    one = value_and_gradients(maps, **options)
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    split = NamedSharding(mesh, PartitionSpec("data"))
    four = value_and_gradients([jax.device_put(m, split) for m in maps], **options)
    assert four[1][0].sharding.is_equivalent_to(split, 3)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9)
    # Not the mean of what each device would have alone.
    if version == 2:
        alone = [
            value_and_gradients([m[i : i + 2] for m in maps], **options)[0][0] for i in (0, 2, 4, 6)
        ]
        assert float(np.mean(alone)) != pytest.approx(float(one[0][0]), rel=1e-2)
