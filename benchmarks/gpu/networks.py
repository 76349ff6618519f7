"""Both networks' steps as the GPU scripts measure them, their arithmetic, and their numbers."""

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
# The recipes of configs/synthtext.py and configs/crnn_dtrb.py.
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
    """A network and a batch.

    Attributes:
        network: "detector", "recognizer" (None-VGG-BiLSTM-CTC) or "lcnet" (PP-OCRv6's small one).
        rows: of the batch.
        height: of its pictures.
        width: of its pictures.
        channels: of the detector a share of its channels, of the others how many.
    """

    network: str
    rows: int
    height: int
    width: int
    channels: float

    @property
    def name(self) -> str:
        """One line for the log."""
        return f"{self.network} {self.height}x{self.width}, batch {self.rows}"

    def batch(self) -> dict[str, np.ndarray]:
        """The same batch everywhere: noise, and labels that make sense."""
        if self.network == "detector":
            return make_pages(self.rows, self.height)
        size = {"rows": self.rows, "height": self.height, "width": self.width}
        return make_crops({"classes": CLASSES, **size})

    def model(self, dtype: str) -> Any:
        """The network that computes in a dtype."""
        if self.network == "detector":
            from craftjax.models import CRAFT

            return CRAFT(self.channels, jnp.dtype(dtype))
        from crnnjax.models import CRNN

        options: dict[str, Any] = {"channels": int(self.channels), "dtype": jnp.dtype(dtype)}
        if self.network == "lcnet":
            options |= {"features": "lcnetv4", "hidden": 120, "sequence": "lightsvtr"}
        return CRNN(CLASSES, **options)

    def variables(self) -> Tree:
        """Random variables, which NumPy makes: the same on every machine."""
        if self.network == "detector":
            from craftjax.models import init_variables

            return init_variables(self.model("float32"), seed=1)
        from crnnjax.models import init_variables as init_crnn

        return init_crnn(self.model("float32"), seed=1)

    def step(self, dtype: str, **optimizer: Any) -> tuple[Any, Any, Any]:
        """The product's step, jitted but not compiled, its state, and the batch on the device."""
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
        """The network alone as it reads, jitted; its variables and pictures on the device."""
        model = self.model(dtype)
        apply = jax.jit(lambda variables, images: model.apply(variables, images))
        return apply, jax.device_put(self.variables()), jax.device_put(self.batch()["image"])


class Built(NamedTuple):
    """A compiled step.

    Attributes:
        run: takes a number of steps and returns their seconds.
        about: seconds of compiling, memory, arithmetic, and the loss after the first call of `run`.
        text: the compiled program.
    """

    run: Callable[[int], float]
    about: dict[str, Any]
    text: Callable[[], str]


def build(case: Case, dtype: str) -> Built:
    """Compiles the product's step of a case and says what it takes."""
    step, state, batch = case.step(dtype)
    begun = time.perf_counter()
    compiled = step.lower(state, batch).compile()
    about: dict[str, Any] = {"compile_s": round(time.perf_counter() - begun, 2)}
    memory = compiled.memory_analysis()
    if memory is not None:
        held = memory.argument_size_in_bytes + memory.temp_size_in_bytes
        about["memory_gib"] = round(held / 2**30, 3)  # outputs are donated arguments
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
    """Operations of a forward pass: two for each multiplication of convolutions and products.

    They are counted from the shapes of what is traced, padding included. A step is three times as
    many: the gradients by the kernels and by the inputs are as much as the forward pass each.
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
    """Compiles what `numbers` runs.

    Returns:
        Computes what must be equal everywhere, as flat arrays of float32: `scores` as they are
        read, and of the product's step with Adam `loss` and `gradients` before the first one and
        `moved`, how far three steps moved the weights.
    """
    with jax.default_matmul_precision("highest"):
        apply, variables, images = case.forward(dtype)
        read = apply.lower(variables, images).compile()
        # A large eps: first steps with a small one are only the gradients' signs.
        adam = {"name": "adam", "learning_rate": 1e-3, "eps": 1e-3, "weight_decay": 0.0}
        step, state, batch = case.step(dtype, **adam)
        move = step.lower(state, batch).compile()

    def numbers() -> dict[str, np.ndarray]:
        scores = read(variables, images)
        now, metrics = move(state, batch)
        total, count = metrics["loss"]
        # The first mean of the gradients is a tenth of them.
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
    """How far numbers are from others, as a share of the length of these."""
    return {
        name: float(np.linalg.norm(found[name] - value) / np.linalg.norm(value))
        for name, value in wanted.items()
    }
