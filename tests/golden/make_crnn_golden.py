"""Makes crnn_golden.npz with EasyOCR 1.7.2's own networks and torch's CTC.

Command: PYTHONPATH=.:benchmarks python tests/golden/make_crnn_golden.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ocrcore.synth.words import WordConfig, WordRenderer
from ocrcore.weights.named import find_weights


def random_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights of one random stream over the sorted names."""
    rng = np.random.RandomState(0)
    state = {}
    for name in sorted(shapes):
        shape = shapes[name]
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, shape)
        elif name.endswith("running_mean") or "bias" in name:
            value = rng.normal(0, 0.1, shape)
        elif len(shape) == 1:
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        state[name] = value.astype(np.float32)
    return state


def images() -> np.ndarray:
    return np.random.RandomState(1).randint(0, 256, (2, 64, 96, 1)).astype(np.uint8)


def ctc_case() -> dict[str, np.ndarray]:
    """Short and empty targets, repeats, one that just fits and two that do not."""
    rng = np.random.RandomState(2)
    labels = rng.randint(1, 7, (7, 6))
    labels[1] = 3
    labels[6, :3] = 2
    return {
        "logits": rng.normal(0, 2, (7, 10, 7)).astype(np.float32),
        "steps": np.array([10, 10, 7, 5, 3, 10, 5]),
        "labels": labels,
        "lengths": np.array([4, 6, 3, 5, 4, 0, 3]),
    }


def main() -> None:
    from peers import import_easyocr

    import_easyocr()
    import torch
    from easyocr.model.model import Model as Generation1
    from easyocr.model.vgg_model import Model as Generation2

    out: dict[str, np.ndarray] = {}

    def run(model: torch.nn.Module, image: np.ndarray) -> np.ndarray:
        normal = (image.astype(np.float32) / 255 - 0.5) / 0.5
        with torch.no_grad():
            return model(torch.from_numpy(normal.transpose(0, 3, 1, 2).copy()), None).numpy()

    for name, model, norm in (
        ("vgg", Generation2(1, 32, 16, 11), "FeatureExtraction.ConvNet.12"),
        ("resnet", Generation1(1, 32, 16, 11), "FeatureExtraction.ConvNet.layer2.0.downsample.1"),
    ):
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        state = {key: torch.from_numpy(value) for key, value in random_state(shapes).items()}
        model.load_state_dict(state, strict=False)
        model.eval()
        out[f"{name}_logits"] = run(model, images())
        model.train()
        out[f"{name}_train_logits"] = run(model, images())
        for statistic in ("running_mean", "running_var"):
            out[f"{name}_{statistic}"] = model.state_dict()[f"{norm}.{statistic}"].numpy()

    word = WordRenderer(WordConfig(height=64), seed=0)[0]
    gray = cv2.cvtColor(word.image, cv2.COLOR_RGB2GRAY)
    crop = cv2.resize(gray, (200, 64), interpolation=cv2.INTER_AREA)
    print(f"the crop says {word.text!r}")
    model = Generation2(1, 256, 256, 97)
    state = torch.load(find_weights("english_g2"), map_location="cpu", weights_only=True)
    model.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    model.eval()
    out["english_crop"] = crop
    out["english_logits"] = run(model, crop[None, :, :, None])

    case = {key: torch.from_numpy(value) for key, value in ctc_case().items()}
    logits = case["logits"].requires_grad_()
    for reduction in ("none", "mean"):
        loss = torch.nn.CTCLoss(reduction=reduction, zero_infinity=True)
        steps, lengths = case["steps"], case["lengths"]
        value = loss(logits.log_softmax(2).transpose(0, 1), case["labels"], steps, lengths)
        out[f"ctc_{reduction}"] = value.detach().numpy()
    value.backward()
    out["ctc_gradient"] = logits.grad.numpy()
    np.savez_compressed(Path(__file__).parent / "crnn_golden.npz", **out)


if __name__ == "__main__":
    main()
