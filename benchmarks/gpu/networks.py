"""The networks' train steps for the GPU scripts: how to build, count and compare them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from crnn_train_step import make_batch as make_crops
from train_step import make_batch as make_pages

from ocrcore.runtime.mesh import make_mesh, put_batch
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.state import create_state

Tree = Any
LOSS = {"neg_rto": 1.0, "n_min_neg": 1000}
# The optimizers of configs/synthtext.py and configs/crnn_dtrb.py.
OPTIMIZERS = {
    "detector": {"name": "adam", "learning_rate": 1e-4, "weight_decay": 1e-5},
    "recognizer": {
        "name": "adadelta",
        "learning_rate": 1.0,
        "b2": 0.95,
        "eps": 1e-8,
        "clip_norm": 5.0,
    },
}
OPTIMIZERS["lcnet"] = OPTIMIZERS["recognizer"]
CLASSES = 37


@dataclass(frozen=True)
class Case:
    """A network and the shape of its batch.

    Attributes:
        network: "detector", "recognizer" (None-VGG-BiLSTM-CTC) or "lcnet" (PP-OCRv6's small one).
        rows: batch size.
        height: of the pictures.
        width: of the pictures.
        channels: for the detector a fraction of its channels, for the others their number.
    """

    network: str
    rows: int
    height: int
    width: int
    channels: float

    @property
    def name(self) -> str:
        """Describe the case in one line, for the log."""
        return f"{self.network} {self.height}x{self.width}, batch {self.rows}"

    def batch(self) -> dict[str, np.ndarray]:
        """Make a batch of noise with valid labels; the same on every machine."""
        if self.network == "detector":
            return make_pages(self.rows, self.height)
        size = {"rows": self.rows, "height": self.height, "width": self.width}
        return make_crops({"classes": CLASSES, **size})

    def model(self, dtype: str) -> Any:
        """Return the network, computing in `dtype`."""
        if self.network == "detector":
            from craftjax.models import CRAFT

            return CRAFT(self.channels, jnp.dtype(dtype))
        from crnnjax.models import CRNN

        options: dict[str, Any] = {"channels": int(self.channels), "dtype": jnp.dtype(dtype)}
        if self.network == "lcnet":
            options |= {"features": "lcnetv4", "hidden": 120, "sequence": "lightsvtr"}
        return CRNN(CLASSES, **options)

    def variables(self) -> Tree:
        """Draw random variables with NumPy, so that they are the same on every machine."""
        if self.network == "detector":
            from craftjax.models import init_variables

            return init_variables(self.model("float32"), seed=1)
        from crnnjax.models import init_variables as init_crnn

        return init_crnn(self.model("float32"), seed=1)

    def step(self, dtype: str, **optimizer: Any) -> tuple[Any, Any, Any]:
        """Return the jitted (not compiled) train step, its state, and the batch on the device."""
        options = OptimizerOptions(**{**OPTIMIZERS[self.network], **optimizer})
        made, _ = make_optimizer(options, steps=1000)
        mesh, model = make_mesh(jax.devices()[:1]), self.model(dtype)
        if self.network == "detector":
            from craftjax.training import make_loss, make_train_step

            loss = make_loss({"version": 3, **LOSS})
            step = make_train_step(model, made, mesh=mesh, loss=loss, options=options)
        else:
            from crnnjax.training import make_train_step as make_crnn_step

            step = make_crnn_step(model, made, mesh=mesh, options=options)
        state = create_state(self.variables(), made, mesh=mesh, ema=False)
        return step, state, put_batch(self.batch(), mesh)

    def forward(self, dtype: str) -> tuple[Callable[[Tree, Tree], Any], Tree, Tree]:
        """Return the jitted forward pass for inference, and its inputs on the device."""
        model = self.model(dtype)
        apply = jax.jit(lambda variables, images: model.apply(variables, images))
        return apply, jax.device_put(self.variables()), jax.device_put(self.batch()["image"])


class Built(NamedTuple):
    """A compiled train step.

    Attributes:
        run: runs a number of steps and returns the seconds they took.
        about: seconds to compile, memory, arithmetic, and the loss after the first call of `run`.
        text: returns the compiled program as text.
    """

    run: Callable[[int], float]
    about: dict[str, Any]
    text: Callable[[], str]


def build(case: Case, dtype: str) -> Built:
    """Compiles the train step of a case and measures its cost."""
    step, state, batch = case.step(dtype)
    begun = time.perf_counter()
    compiled = step.lower(state, batch).compile()
    about: dict[str, Any] = {"compile_s": round(time.perf_counter() - begun, 2)}
    memory = compiled.memory_analysis()
    if memory is not None:
        held = memory.argument_size_in_bytes + memory.temp_size_in_bytes
        about["memory_gib"] = round(held / 2**30, 3)  # outputs reuse the donated arguments
    about["flops_a_step"] = 3 * count_flops(case)

    def run(steps: int) -> float:
        nonlocal state
        begun = time.perf_counter()
        for _ in range(steps):
            state, metrics = compiled(state, batch)
        jax.block_until_ready((state, metrics))
        seconds = time.perf_counter() - begun
        about.setdefault("loss", float(metrics["loss"][0] / metrics["loss"][1]))
        return seconds

    return Built(run, about, compiled.as_text)


def count_flops(case: Case) -> float:
    """Count the operations of a forward pass: two per multiplication of convolutions and matmuls.

    They are counted from the shapes in the traced program, padding included. A train step takes
    three times as many: the gradients of the kernels and of the inputs cost as much as the forward
    pass each.
    """
    model = case.model("float32")
    closed = jax.make_jaxpr(lambda variables, images: model.apply(variables, images))(
        case.variables(), case.batch()["image"]
    )
    return _flops(closed.jaxpr)


def _flops(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        shapes = [getattr(value.aval, "shape", ()) for value in equation.invars]
        out = float(np.prod(equation.outvars[0].aval.shape)) if equation.outvars else 0.0
        if equation.primitive.name == "conv_general_dilated":
            dimension = equation.params["dimension_numbers"].rhs_spec
            kernel = np.prod([shapes[1][at] for at in dimension[1:]])
            total += 2 * out * float(kernel)
        elif equation.primitive.name == "dot_general":
            (left, _), _ = equation.params["dimension_numbers"]
            total += 2 * out * float(np.prod([shapes[0][at] for at in left]))
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        if equation.primitive.name == "custom_vjp_call" and "call_jaxpr" in equation.params:
            inner = [equation.params["call_jaxpr"]]
        else:
            inner = [p for p in equation.params.values() if hasattr(p, "eqns") or _closed(p)]
        total += times * sum(_flops(p.jaxpr if _closed(p) else p) for p in inner)
    return total


def _closed(value: Any) -> bool:
    return hasattr(value, "jaxpr") and hasattr(value.jaxpr, "eqns")


def prepare_numbers(case: Case, dtype: str) -> Callable[[], dict[str, np.ndarray]]:
    """Compile the programs of `numbers`.

    Returns:
        A function that computes what must be equal on all devices, as flat float32 arrays: `scores`
        of inference, and from the train step with Adam the `loss` and `gradients` before the first
        step, and `moved`, the change of the weights after three steps.
    """
    with jax.default_matmul_precision("highest"):
        apply, variables, images = case.forward(dtype)
        read = apply.lower(variables, images).compile()
        # A large eps: with a small one, Adam's first steps only show the signs of the gradients.
        adam = {"name": "adam", "learning_rate": 1e-3, "eps": 1e-3, "weight_decay": 0.0}
        step, state, batch = case.step(dtype, **adam)
        move = step.lower(state, batch).compile()

    def numbers() -> dict[str, np.ndarray]:
        scores = read(variables, images)
        now, metrics = move(state, batch)
        total, count = metrics["loss"]
        # Adam's first moment after one step is a tenth of the gradients (b1 = 0.9).
        leaves = jax.tree.leaves(now.opt_state, is_leaf=lambda x: hasattr(x, "mu"))
        (mean,) = (x.mu for x in leaves if hasattr(x, "mu"))
        found = {"loss": total / count, "gradients": _flat(mean) * 10}
        found["scores"] = scores[0] if isinstance(scores, tuple) else scores
        for _ in range(2):
            now, _ = move(now, batch)
        found["moved"] = _flat(now.params) - _flat(variables["params"])
        return {k: np.asarray(v, np.float32).ravel() for k, v in found.items()}

    return numbers


def _flat(tree: Tree) -> np.ndarray:
    return np.concatenate([np.asarray(x, np.float32).ravel() for x in jax.tree.leaves(tree)])


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, float]:
    """Return the norm of each difference, relative to the norm of the wanted value."""
    return {
        name: float(np.linalg.norm(found[name] - value) / np.linalg.norm(value))
        for name, value in wanted.items()
    }
