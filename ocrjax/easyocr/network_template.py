"""A text recognizer for EasyOCR that needs nothing but PyTorch.

`ocrjax export easyocr` writes this file as NAME.py. EasyOCR imports it, creates a `Model` with the
`network_params` of NAME.yaml, loads the weights of NAME.pth, and passes it gray images of one
height and any width, with values from -1 to 1.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class VGG(nn.Module):
    """The seven convolutions of CRNN; the width is divided by four."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        c = channels
        self.ConvNet = nn.Sequential(
            nn.Conv2d(channels_in, c // 8, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2),
            nn.Conv2d(c // 8, c // 4, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2),
            nn.Conv2d(c // 4, c // 2, 3, padding=1),
            nn.ReLU(True),
            nn.Conv2d(c // 2, c // 2, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d((2, 1)),
            nn.Conv2d(c // 2, c, 3, padding=1, bias=False),
            nn.BatchNorm2d(c),
            nn.ReLU(True),
            nn.Conv2d(c, c, 3, padding=1, bias=False),
            nn.BatchNorm2d(c),
            nn.ReLU(True),
            nn.MaxPool2d((2, 1)),
            nn.Conv2d(c, c, 2),
            nn.ReLU(True),
        )

    def forward(self, x: Any) -> Any:
        """`(B, C, H, W)` to `(B, channels, H // 16 - 1, W // 4 - 1)`."""
        return self.ConvNet(x)


def overlapping_pool() -> Any:
    """A max-pool that halves the height and makes the map one column wider."""
    return nn.MaxPool2d(2, stride=(2, 1), padding=(0, 1))


class RecurrentConv(nn.Module):
    """A gated recurrent convolution: rounds with shared kernels, each gated by the last."""

    def __init__(self, channels_in: int, channels: int, rounds: int = 5) -> None:
        super().__init__()
        self.wgf_u = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.wgr_x = nn.Conv2d(channels, channels, 1, bias=False)
        self.wf_u = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.wr_x = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.BN_x_init = nn.BatchNorm2d(channels)
        names = ("BN_gfu", "BN_grx", "BN_fu", "BN_rx", "BN_Gx")
        self.GRCL = nn.ModuleList(
            nn.ModuleDict({name: nn.BatchNorm2d(channels) for name in names}) for _ in range(rounds)
        )

    def forward(self, u: Any) -> Any:
        """`(B, C, H, W)` to `(B, channels, H, W)`."""
        gate_input, x_input = self.wgf_u(u), self.wf_u(u)
        x = F.relu(self.BN_x_init(x_input))
        for norms in self.GRCL:
            gate = torch.sigmoid(norms["BN_gfu"](gate_input) + norms["BN_grx"](self.wgr_x(x)))
            gated = norms["BN_Gx"](norms["BN_rx"](self.wr_x(x)) * gate)
            x = F.relu(norms["BN_fu"](x_input) + gated)
        return x


class RCNN(nn.Module):
    """Two convolutions and three recurrent ones."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        c = channels
        self.ConvNet = nn.Sequential(
            nn.Conv2d(channels_in, c // 8, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2),
            RecurrentConv(c // 8, c // 8),
            nn.MaxPool2d(2),
            RecurrentConv(c // 8, c // 4),
            overlapping_pool(),
            RecurrentConv(c // 4, c // 2),
            overlapping_pool(),
            nn.Conv2d(c // 2, c, 2, bias=False),
            nn.BatchNorm2d(c),
            nn.ReLU(True),
        )

    def forward(self, x: Any) -> Any:
        """`(B, C, H, W)` to `(B, channels, H // 16 - 1, W // 4 + 1)`."""
        return self.ConvNet(x)


class Residual(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Any) -> Any:
        """`(B, C, H, W)` to `(B, channels, H, W)`."""
        past = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + past)


class ResNetLayers(nn.Module):
    """Eleven residual blocks with convolutions between them."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        c = channels

        def conv(name: str, before: int, after: int, size: int = 3, **more: Any) -> None:
            self.add_module("conv" + name, nn.Conv2d(before, after, size, bias=False, **more))
            self.add_module("bn" + name, nn.BatchNorm2d(after))

        def layer(index: int, before: int, after: int, blocks: int) -> None:
            rest = [Residual(after, after) for _ in range(blocks - 1)]
            self.add_module(f"layer{index}", nn.Sequential(Residual(before, after), *rest))

        conv("0_1", channels_in, c // 16, padding=1)
        conv("0_2", c // 16, c // 8, padding=1)
        layer(1, c // 8, c // 4, 1)
        conv("1", c // 4, c // 4, padding=1)
        layer(2, c // 4, c // 2, 2)
        conv("2", c // 2, c // 2, padding=1)
        layer(3, c // 2, c, 5)
        conv("3", c, c, padding=1)
        layer(4, c, c, 3)
        conv("4_1", c, c, 2, stride=(2, 1), padding=(0, 1))
        conv("4_2", c, c, 2)
        self.maxpool1 = nn.MaxPool2d(2)
        self.maxpool2 = nn.MaxPool2d(2)
        self.maxpool3 = overlapping_pool()

    def forward(self, x: Any) -> Any:
        """`(B, C, H, W)` to `(B, channels, H // 16 - 1, W // 4 + 1)`."""

        def conv(name: str, x: Any) -> Any:
            return F.relu(getattr(self, "bn" + name)(getattr(self, "conv" + name)(x)))

        x = self.maxpool1(conv("0_2", conv("0_1", x)))
        x = self.maxpool2(conv("1", self.layer1(x)))
        x = self.maxpool3(conv("2", self.layer2(x)))
        x = self.layer4(conv("3", self.layer3(x)))
        return conv("4_2", conv("4_1", x))


class ResNet(nn.Module):
    """Adds the name level under which the weights store the layers."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.ConvNet = ResNetLayers(channels_in, channels)

    def forward(self, x: Any) -> Any:
        """Same shapes as `ResNetLayers`."""
        return self.ConvNet(x)


class Affine(nn.Module):
    """Spatial transformer: predicts an affine transform and resamples the image by it."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        before = channels_in
        for index, after in enumerate((32, 64, 128)):
            self.add_module(f"conv{index}", nn.Conv2d(before, after, 3, padding=1, bias=False))
            self.add_module(f"bn{index}", nn.BatchNorm2d(after))
            before = after
        self.linear0 = nn.Linear(before, 64)
        self.weight = nn.Parameter(torch.zeros(6, 64))
        self.bias = nn.Parameter(torch.zeros(6))

    def forward(self, x: Any) -> Any:
        """`(B, C, H, W)` to the same."""
        y = x
        for index in range(3):
            y = F.max_pool2d(getattr(self, f"conv{index}")(y), 2)
            y = F.relu(getattr(self, f"bn{index}")(y))
        numbers = F.linear(F.relu(self.linear0(y.mean((2, 3)))), self.weight, self.bias)
        # The network predicts the difference from the identity.
        theta = numbers.view(-1, 2, 3) + torch.eye(2, 3, device=x.device)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


class BidirectionalLSTM(nn.Module):
    """A bidirectional LSTM and a linear layer."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(size, hidden, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(2 * hidden, hidden)

    def forward(self, x: Any) -> Any:
        """`(B, T, size)` to `(B, T, hidden)`."""
        return self.linear(self.rnn(x)[0])


def pointwise(channels_in: int, channels: int) -> Any:
    """A 1x1 convolution; the dilation has no effect but makes a single thread use oneDNN."""
    return nn.Conv2d(channels_in, channels, 1, dilation=2)


class LCNetV4(nn.Module):
    """Features of PP-OCRv6's small recognizer."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        stem, quarter, half = channels // 8, channels // 4, channels // 2
        self.stem1 = nn.Conv2d(channels_in, stem, 3, stride=2, padding=1)
        self.stem2a = nn.Conv2d(stem, stem // 2, 2)
        self.stem2b = nn.Conv2d(stem // 2, stem, 2)
        self.stem3 = nn.Conv2d(2 * stem, stem, 3, stride=2, padding=1)
        self.stem4 = pointwise(stem, quarter)
        widths = [quarter] * 4 + [half] * 7 + [channels] * 3
        self.excited, self.blocks = (0, 4, 6, 8, 11), len(widths) - 1
        for index in range(self.blocks):
            before, after = widths[index : index + 2]
            rows = 1 if before == after else 2
            self.add_module(
                f"block{index}_depthwise",
                nn.Conv2d(before, before, 3, stride=(rows, 1), padding=1, groups=before),
            )
            if index in self.excited:
                self.add_module(f"block{index}_squeeze", nn.Conv2d(before, before // 4, 1))
                self.add_module(f"block{index}_excite", nn.Conv2d(before // 4, before, 1))
            self.add_module(f"block{index}_expand", pointwise(before, 2 * before))
            self.add_module(f"block{index}_project", pointwise(2 * before, after))

    def forward(self, x: Any) -> Any:
        """`(B, C, H, W)` to `(B, channels, 1, T)`; T is an eighth of the width."""
        # The depthwise convolutions are faster in this layout.
        x = F.relu(self.stem1(x)).contiguous(memory_format=torch.channels_last)
        x = F.pad(x, (0, 1, 0, 1))
        y = F.relu(self.stem2b(F.pad(F.relu(self.stem2a(x)), (0, 1, 0, 1))))
        x = torch.cat([F.max_pool2d(x, 2, stride=1), y], 1)
        x = F.relu(self.stem4(F.relu(self.stem3(x))))
        for index in range(self.blocks):
            x = getattr(self, f"block{index}_depthwise")(x)
            if index in self.excited:
                y = F.relu(getattr(self, f"block{index}_squeeze")(x.mean((2, 3), keepdim=True)))
                x = x * F.hardsigmoid(getattr(self, f"block{index}_excite")(y))
            y = getattr(self, f"block{index}_expand")(x)
            y = getattr(self, f"block{index}_project")(F.gelu(y))
            x = x + y if x.shape == y.shape else y
        return F.avg_pool2d(x.mean(2, keepdim=True), (1, 2))


class Transformer(nn.Module):
    """A pre-norm transformer block: self-attention over all columns and an MLP."""

    def __init__(self, size: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(size)
        self.qkv = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        self.norm2 = nn.LayerNorm(size)
        self.mlp1 = nn.Linear(size, 2 * size)
        self.mlp2 = nn.Linear(2 * size, size)

    def forward(self, x: Any) -> Any:
        """`(B, T, size)` to the same."""
        b, t, size = x.shape
        parts = self.qkv(self.norm1(x)).reshape(b, t, 3, self.heads, size // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = torch.matmul(query * (size // self.heads) ** -0.5, key.transpose(-1, -2))
        y = torch.matmul(scores.softmax(-1), value).transpose(1, 2).reshape(b, t, size)
        x = x + self.out(y)
        return x + self.mlp2(F.silu(self.mlp1(self.norm2(x))))


class LightSVTR(nn.Module):
    """A convolution along the columns and two transformer blocks, with a shortcut around both."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(size, hidden, 1)
        self.reduce = nn.Conv2d(size, hidden, 1)
        self.local = nn.Conv2d(hidden, hidden, (1, 7), padding=(0, 3), groups=hidden)
        self.block0 = Transformer(hidden)
        self.block1 = Transformer(hidden)
        self.norm = nn.LayerNorm(hidden, eps=1e-6)

    def forward(self, x: Any) -> Any:
        """`(B, T, size)` to `(B, T, hidden)`."""
        x = x.permute(0, 2, 1)[:, :, None]
        skip, x = F.silu(self.skip(x)), F.silu(self.reduce(x))
        x = (x + F.silu(self.local(x)))[:, :, 0].permute(0, 2, 1)
        x = self.norm(self.block1(self.block0(x)))
        return x + skip[:, :, 0].permute(0, 2, 1)


class Model(nn.Module):
    """The network that EasyOCR creates and calls."""

    def __init__(
        self,
        num_class: int,
        input_channel: int = 1,
        output_channel: int = 512,
        hidden_size: int = 256,
        features: str = "vgg",
        sequence: str = "bilstm",
        transform: str = "none",
    ) -> None:
        super().__init__()
        self.Transformation = Affine(input_channel) if transform == "affine" else None
        encoders: dict[str, Any] = {"vgg": VGG, "resnet": ResNet, "rcnn": RCNN, "lcnetv4": LCNetV4}
        self.FeatureExtraction = encoders[features](input_channel, output_channel)
        self.SequenceModeling: Any = None
        if sequence == "bilstm":
            self.SequenceModeling = nn.Sequential(
                BidirectionalLSTM(output_channel, hidden_size),
                BidirectionalLSTM(hidden_size, hidden_size),
            )
        elif sequence == "lightsvtr":
            self.SequenceModeling = LightSVTR(output_channel, hidden_size)
        classified = output_channel if sequence == "none" else hidden_size
        self.Prediction = nn.Linear(classified, num_class)

    def forward(self, input: Any, text: Any = None) -> Any:
        """Images (B, C, H, W) to logits (B, T, num_class); EasyOCR passes `text`, not used here."""
        # keras-ocr's height of 31 rows is one too few for the layers.
        x = F.pad(input, (0, 0, 0, max(32 - input.shape[2], 0)), mode="replicate")
        if self.Transformation is not None:
            x = self.Transformation(x)
        x = self.FeatureExtraction(x).mean(2).permute(0, 2, 1)
        if self.SequenceModeling is not None:
            x = self.SequenceModeling(x)
        return self.Prediction(x.contiguous())
