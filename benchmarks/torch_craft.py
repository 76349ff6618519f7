"""CRAFT and its training step in PyTorch, for comparison; needs torch.

Our own implementation, written from the description of the network in `craftjax.models`, with the
layer names of the state dicts that `craftjax.convert` exchanges. It computes what the original's
trainer computes, in the same order: concatenate and convolve in the decoder, loss image by image
with `topk`, Adam with weight decay in the gradient.
`tests/benchmarks/test_train_step_benchmark.py` compares it with ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craftjax.models import MEAN, STD, scale_channels

Batch = Mapping[str, Tensor]


def _stack(channels: int, layout: list[int | str], *, width: float, first: int) -> nn.Sequential:
    """Make layers of VGG16-BN under torchvision's numbers, starting at `first`.

    An entry is the number of features of a convolution, followed by a BatchNorm, or a layer's name.
    """
    layers: list[nn.Module] = []
    for entry in layout:
        if isinstance(entry, int):
            features = scale_channels(entry, width)
            layers += [nn.Conv2d(channels, features, 3, padding=1), nn.BatchNorm2d(features)]
            channels = features
        else:
            layers.append(nn.ReLU(inplace=True) if entry == "relu" else nn.MaxPool2d(2))
    stack = nn.Sequential()
    for number, layer in enumerate(layers, first):
        stack.add_module(str(number), layer)
    return stack


class Encoder(nn.Module):
    """VGG16-BN's features in four slices, and fc6 and fc7 as convolutions."""

    def __init__(self, width: float) -> None:
        super().__init__()
        c = [scale_channels(features, width) for features in (128, 256, 512, 1024)]
        self.slice1 = _stack(
            3, [64, "relu", 64, "relu", "pool", 128, "relu", 128], width=width, first=0
        )
        self.slice2 = _stack(c[0], ["relu", "pool", 256, "relu", 256], width=width, first=12)
        self.slice3 = _stack(
            c[1], ["relu", 256, "relu", "pool", 512, "relu", 512], width=width, first=19
        )
        self.slice4 = _stack(
            c[2], ["relu", 512, "relu", "pool", 512, "relu", 512], width=width, first=29
        )
        self.slice5 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),
            nn.Conv2d(c[2], c[3], 3, padding=6, dilation=6),
            nn.Conv2d(c[3], c[3], 1),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return fc7 and the four skip connections, coarse first.

        The ReLU at the start of a slice rectifies its input in place, and thereby also the skip
        connection.
        """
        skips = []
        for part in (self.slice1, self.slice2, self.slice3, self.slice4, self.slice5):
            x = part(x)
            skips.insert(0, x)
        return skips


class Join(nn.Module):
    """A 1x1 and a 3x3 convolution of concatenated maps, each with BatchNorm and ReLU."""

    def __init__(self, channels: int, middle: int, features: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, middle, 1),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, features, 3, padding=1),
            nn.BatchNorm2d(features),
            nn.ReLU(inplace=True),
        )

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Join `(B, C, H, W)` maps at the size of `skip`."""
        if coarse.shape[2:] != skip.shape[2:]:
            coarse = F.interpolate(coarse, skip.shape[2:], mode="bilinear", align_corners=False)
        joined: Tensor = self.conv(torch.cat([coarse, skip], dim=1))
        return joined


class TorchCRAFT(nn.Module):
    """The network; `width` multiplies the channels, as in `craftjax.models.CRAFT`."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.basenet = Encoder(width)
        coarse = scale_channels(1024, width)
        for number, (skip, middle, out) in enumerate(
            ((512, 512, 256), (512, 256, 128), (256, 128, 64), (128, 64, 32)), 1
        ):
            skip, middle, out = (scale_channels(c, width) for c in (skip, middle, out))
            self.add_module(f"upconv{number}", Join(coarse + skip, middle, out))
            coarse = out
        c32, c16 = scale_channels(32, width), scale_channels(16, width)
        self.conv_cls = nn.Sequential(
            nn.Conv2d(coarse, c32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c32, c32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c32, c16, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c16, c16, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c16, 2, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Maps normalized `(B, 3, H, W)` to scores `(B, H // 2, W // 2, 2)`."""
        y, *skips = self.basenet(images)
        for number, skip in enumerate(skips, 1):
            y = self.get_submodule(f"upconv{number}")(y, skip)
        scores: Tensor = self.conv_cls(y)
        return scores.permute(0, 2, 3, 1)


def make_network(state: Mapping[str, np.ndarray], *, width: float = 1.0) -> TorchCRAFT:
    """Make a network with weights from `craftjax.convert.to_state_dict`."""
    network = TorchCRAFT(width)
    network.load_state_dict({name: torch.from_numpy(np.array(x)) for name, x in state.items()})
    return network


def make_batch(batch: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Convert one of our batches for `make_step`: images normalized, channels first."""
    normal = (batch["image"].astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    arrays = {**batch, "image": np.ascontiguousarray(normal.transpose(0, 3, 1, 2))}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def loss_v3(labels: Tensor, scores: Tensor, weight: Tensor, neg_rto: float, least: int) -> Tensor:
    """Compute the loss of one map like the original: hard negatives, image by image.

    Args:
        labels: `(B, H, W)`.
        scores: `(B, H, W)`.
        weight: `(B, H, W)`, weight of the squared errors.
        neg_rto: negative pixels per positive pixel.
        least: minimum number of negative pixels.
    """
    errors = F.mse_loss(scores, labels, reduction="none") * weight
    total = errors.new_zeros(())
    for error, positive in zip(errors, labels >= 0.1, strict=True):
        p = int(positive.sum())
        n = positive.numel() - p
        total = total + (error * positive).sum() / max(p, 1e-12)
        negative = error * ~positive
        wanted = max(least, neg_rto * p)
        if p and n < neg_rto * p:
            total = total + negative.sum() / n
        else:
            total = total + negative.flatten().topk(int(wanted)).values.sum() / wanted
    return total / len(errors)


def make_step(
    network: TorchCRAFT, *, loss: Mapping[str, Any], optimizer: Mapping[str, Any]
) -> tuple[Callable[[Batch], float], torch.optim.Optimizer]:
    """Return a training step in float32, and its optimizer.

    Args:
        network: trained in place.
        loss: `neg_rto` and `n_min_neg`.
        optimizer: arguments of torch.optim.Adam.

    Returns:
        A function of a batch from `make_batch` that returns the loss before the update; the
        optimizer.
    """
    adam = torch.optim.Adam(network.parameters(), **optimizer)
    network.train()

    def step(batch: Batch) -> float:
        scores = network(batch["image"])
        parts = [
            loss_v3(
                batch[name],
                scores[..., index],
                batch["confidence"],
                loss["neg_rto"],
                loss["n_min_neg"],
            )
            for index, name in enumerate(("region", "affinity"))
        ]
        value = parts[0] + parts[1]
        adam.zero_grad()
        value.backward()
        adam.step()
        return float(value.detach())

    return step, adam


def loss_on_device(
    labels: Tensor, scores: Tensor, weight: Tensor, neg_rto: float, least: int
) -> Tensor:
    """Compute `loss_v3` without a host sync: hardest negatives by one sort over all images.

    Args:
        labels: as for `loss_v3`.
        scores: as for `loss_v3`.
        weight: as for `loss_v3`.
        neg_rto: as for `loss_v3`.
        least: as for `loss_v3`.
    """
    rows = len(labels)
    errors = (F.mse_loss(scores, labels, reduction="none") * weight).reshape(rows, -1)
    positive = (labels >= 0.1).reshape(rows, -1)
    p = positive.sum(1).float()
    n = positive.shape[1] - p
    few = (p > 0) & (n < neg_rto * p)
    wanted = torch.where(few, n, torch.clamp(neg_rto * p, min=least).floor())
    hardest = (errors * ~positive).sort(dim=1, descending=True).values
    taken = torch.arange(positive.shape[1], device=labels.device) < wanted[:, None]
    negatives = (hardest * taken).sum(1) / wanted
    return ((errors * positive).sum(1) / p.clamp(min=1e-12) + negatives).mean()


def make_fast_step(
    network: TorchCRAFT,
    *,
    loss: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    backend: str | None,
) -> Callable[[Batch], Tensor]:
    """Return a step as fast as PyTorch allows: bfloat16, compiled, without host syncs.

    Args:
        network: trained in place; already in `torch.channels_last` and on the device.
        loss: as for `make_step`.
        optimizer: arguments of torch.optim.Adam; fused on a GPU.
        backend: backend of torch.compile; None does not compile.

    Returns:
        A function of a batch on the device that returns the loss before the update, on the device.
    """
    device = next(network.parameters()).device
    adam = torch.optim.Adam(network.parameters(), fused=device.type == "cuda", **optimizer)
    network.train()

    def forward(image: Tensor, region: Tensor, affinity: Tensor, confidence: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            scores = network(image)
        found = scores.float()
        options = loss["neg_rto"], loss["n_min_neg"]
        parts = (
            loss_on_device(labels, found[..., index], confidence, *options)
            for index, labels in enumerate((region, affinity))
        )
        return sum(parts, found.new_zeros(()))

    value_of = torch.compile(forward, backend=backend) if backend else forward

    def step(batch: Batch) -> Tensor:
        names = ("image", "region", "affinity", "confidence")
        value: Tensor = value_of(*(batch[name] for name in names))
        adam.zero_grad()
        value.backward()
        adam.step()
        return value.detach()

    return step
