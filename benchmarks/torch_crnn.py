"""CRNN and its training step in PyTorch, for comparison: written from a description.

Layers, names, loss and optimizer are those of deep-text-recognition-benchmark's
None-VGG-BiLSTM-CTC and of EasyOCR's generation 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn


def _vgg(c: int) -> nn.Sequential:
    def conv(inputs: int, outputs: int, *, bias: bool = True) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, 3, 1, 1, bias=bias)

    def relu() -> nn.ReLU:
        return nn.ReLU(inplace=True)

    return nn.Sequential(
        *(conv(1, c // 8), relu(), nn.MaxPool2d(2, 2)),
        *(conv(c // 8, c // 4), relu(), nn.MaxPool2d(2, 2)),
        *(conv(c // 4, c // 2), relu()),
        *(conv(c // 2, c // 2), relu(), nn.MaxPool2d((2, 1), (2, 1))),
        *(conv(c // 2, c, bias=False), nn.BatchNorm2d(c), relu()),
        *(conv(c, c, bias=False), nn.BatchNorm2d(c), relu(), nn.MaxPool2d((2, 1), (2, 1))),
        *(nn.Conv2d(c, c, 2), relu()),
    )


class _BiLSTM(nn.Module):
    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(inputs, hidden, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(2 * hidden, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.rnn(x)[0])


class _Features(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ConvNet = _vgg(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.ConvNet(x).mean(2).permute(0, 2, 1)


class CRNN(nn.Module):
    """None-VGG-BiLSTM-CTC."""

    def __init__(self, num_classes: int, channels: int = 512, hidden: int = 256) -> None:
        super().__init__()
        self.FeatureExtraction = _Features(channels)
        self.SequenceModeling = nn.Sequential(_BiLSTM(channels, hidden), _BiLSTM(hidden, hidden))
        self.Prediction = nn.Linear(hidden, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, 1, H, W)` in [-1, 1] to logits `(B, T, num_classes)`."""
        return self.Prediction(self.SequenceModeling(self.FeatureExtraction(x)).contiguous())


def make_network(state: Mapping[str, np.ndarray]) -> CRNN:
    """Make the network with these weights, whose names have no prefix."""
    prediction = state["Prediction.weight"].shape
    channels = state["FeatureExtraction.ConvNet.18.weight"].shape[0]
    network = CRNN(prediction[0], channels, prediction[1])
    network.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    return network


def make_compact_network(state: Mapping[str, np.ndarray]) -> nn.Module:
    """Make PP-OCRv6's recognizer network with these weights: the module exported for EasyOCR."""
    from ocrjax.easyocr.network_template import Model

    classes, hidden = state["Prediction.weight"].shape
    channels = state["SequenceModeling.skip.weight"].shape[1]
    network = Model(classes, 1, channels, hidden, "lcnetv4", "lightsvtr")
    network.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    return network


def make_batch(batch: Mapping[str, np.ndarray]) -> tuple[torch.Tensor, ...]:
    """Convert one of our batches to tensors; pictures are normalized, which is not timed."""
    image = (batch["image"].astype(np.float32) / 255 - 0.5) / 0.5
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
    return tensor, torch.from_numpy(batch["label"]), torch.from_numpy(batch["length"])


def make_step(network: nn.Module) -> Callable[[tuple[torch.Tensor, ...]], float]:
    """Return a step like the original's: CTC, gradients clipped to norm 5, Adadelta."""
    network.train()
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0, rho=0.95, eps=1e-8)
    criterion = nn.CTCLoss(zero_infinity=True)

    def step(batch: tuple[torch.Tensor, ...]) -> float:
        image, label, length = batch
        logits = network(image).log_softmax(2).permute(1, 0, 2)
        steps = torch.full((len(image),), len(logits), dtype=torch.int32)
        loss = criterion(logits, label, steps, length)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5)
        optimizer.step()
        return float(loss)

    return step


def make_fast_step(
    network: CRNN, *, backend: str | None
) -> Callable[[tuple[torch.Tensor, ...]], torch.Tensor]:
    """Return a step as fast as PyTorch allows: bfloat16, compiled, without host syncs.

    Args:
        network: trained in place; already on the device.
        backend: backend of torch.compile; None does not compile. PyTorch does not compile LSTMs.

    Returns:
        A function of a batch on the device that returns the loss before the update, on the device.
    """
    device = next(network.parameters()).device
    network.train()
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0, rho=0.95, eps=1e-8)
    criterion = nn.CTCLoss(zero_infinity=True)
    logits_of = torch.compile(network, backend=backend) if backend else network

    def step(batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        image, label, length = batch
        with torch.autocast(device.type, torch.bfloat16):
            logits = logits_of(image)
        scores = logits.float().log_softmax(2).permute(1, 0, 2)
        # On the host, as torch wants them: the loss would fetch them from the device.
        steps = torch.full((len(image),), len(scores), dtype=torch.int64)
        loss = criterion(scores, label, steps, length)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5)
        optimizer.step()
        return loss.detach()

    return step
