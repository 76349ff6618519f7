"""What the compiled programs contain, as far as it can be seen without a GPU.

Lowers the training steps and the forward passes of both networks to StableHLO for CUDA, in
bfloat16 and at the sizes that `measure.py` runs, and counts what costs time or precision there:
matmuls of float32 operands, layouts, large transposes and conversions, sums in bfloat16, loops and
the state they carry, callbacks into Python, state that is not donated, sorts, gathers, scatters,
and large constants. Nothing is compiled or run. XLA fuses and rewrites most of this, so the table
shows what is requested, not what it costs.

Command: python benchmarks/gpu/programs.py [--toy] [--out exp/benchmarks/programs.json]
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from jaxlib.mlir import ir

from craftjax.models import CRAFT
from craftjax.models import init_variables as detector_variables
from craftjax.training import make_loss
from craftjax.training import make_train_step as detector_step
from crnnjax.models import CRNN
from crnnjax.models import init_variables as recognizer_variables
from crnnjax.training import make_train_step as recognizer_step
from ocrcore.runtime.mesh import make_mesh
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.state import create_state

NAMES = ("detector step", "detector forward", "recognizer step", "recognizer forward")
LARGE = 1 << 20  # bytes; smaller tensors are not listed
_TERMS = 64  # a bfloat16 sum of more terms than this loses precision
_NHWC, _KERNEL_GRADIENT = "[b, 0, 1, f]", "[f, 0, 1, b]"
_BYTES = {"f32": 4, "i32": 4, "ui32": 4, "bf16": 2, "f16": 2, "ui8": 1, "i8": 1, "i1": 1, "f64": 8}


def lower(name: str, *, dtype: Any = jnp.bfloat16, toy: bool = False) -> tuple[Any, int]:
    """Lowers one of `NAMES` for CUDA, with the branches that are taken on a GPU.

    Args:
        name: of the program.
        dtype: of the network.
        toy: use small networks and batches.

    Returns:
        `jax.stages.Lowered`, and the number of arrays in the state (0 for a forward pass).
    """
    # The layers query the backend while they are traced.
    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        traced, arrays = (_detector if name.startswith("detector") else _recognizer)(
            dtype, toy=toy, training=name.endswith("step")
        )
        return traced.lower(lowering_platforms=("cuda",)), arrays


def _detector(dtype: Any, *, toy: bool, training: bool) -> tuple[Any, int]:
    rows, side = (2, 64) if toy else (16, 768)
    model = CRAFT(0.125 if toy else 1.0, dtype=jnp.dtype(dtype))
    images = jax.ShapeDtypeStruct((rows, side, side, 3), jnp.uint8)
    if not training:
        forward = jax.jit(lambda variables, images: model.apply(variables, images)[0])
        return forward.trace(detector_variables(model), images), 0
    options = OptimizerOptions(name="adam", learning_rate=1e-4, weight_decay=1e-5)
    optimizer, _ = make_optimizer(options, steps=100)
    loss = make_loss({"version": 3, "neg_rto": 1.0, "n_min_neg": 1000})
    step = detector_step(model, optimizer, mesh=_mesh(), loss=loss, options=options)
    maps = jax.ShapeDtypeStruct((rows, side // 2, side // 2), jnp.float32)
    batch = {"image": images, "region": maps, "affinity": maps, "confidence": maps}
    return _trace_step(step, detector_variables(model), optimizer, batch)


def _recognizer(dtype: Any, *, toy: bool, training: bool) -> tuple[Any, int]:
    rows, channels, hidden = (8, 32, 16) if toy else (1024, 512, 256)
    model = CRNN(37, channels=channels, hidden=hidden, dtype=jnp.dtype(dtype))
    images = jax.ShapeDtypeStruct((rows, 32, 100, 1), jnp.uint8)
    numbers = jax.ShapeDtypeStruct((rows,), jnp.int32)
    if not training:
        return jax.jit(model.apply).trace(recognizer_variables(model), images, numbers), 0
    options = OptimizerOptions(name="adadelta", learning_rate=1.0, b2=0.95, eps=1e-8, clip_norm=5.0)
    optimizer, _ = make_optimizer(options, steps=100)
    step = recognizer_step(model, optimizer, mesh=_mesh(), options=options)
    labels = jax.ShapeDtypeStruct((rows, 25), jnp.int32)
    batch = {"image": images, "width": numbers, "label": labels, "length": numbers}
    return _trace_step(step, recognizer_variables(model), optimizer, batch)


def _mesh() -> Any:
    return make_mesh(jax.devices()[:1])


def _trace_step(step: Any, variables: Any, optimizer: Any, batch: Any) -> tuple[Any, int]:
    state = jax.eval_shape(lambda: create_state(variables, optimizer, mesh=_mesh(), ema=True))
    return step.trace(state, batch), len(jax.tree.leaves(state))


def look(lowered: Any, arrays: int = 0, *, large: int = LARGE) -> dict[str, Any]:
    """Count the operations of a program.

    Functions count once per call, loop bodies once (except in `gflop`, which includes the
    trip counts).

    Args:
        lowered: of `lower`.
        arrays: number of arrays in the state, which are the first arguments.
        large: transposes, conversions, matmuls and constants from this size in bytes are listed.

    Returns:
        Counts by name, and lists of places; can be written as JSON.
    """
    module = lowered.compiler_ir("stablehlo")
    return _Look(module, arrays, large).found


class _Look:
    """Walks over a module and collects the counts."""

    def __init__(self, module: Any, arrays: int, large: int) -> None:
        self._large = large
        self._functions = {
            ir.StringAttr(one.attributes["sym_name"]).value: one
            for one in module.body.operations
            if one.operation.name == "func.func"
        }
        main = self._functions["main"]
        donated = sum(
            "tf.aliasing_output" in str(one) or "jax.buffer_donor" in str(one)
            for one in main.attributes["arg_attrs"]
        )
        self.found: dict[str, Any] = {
            "operations": Counter(),
            "gflop": 0.0,
            "state_arrays": arrays,
            "donated": donated,
            "convolutions": Counter(),
            "float32_convolutions": [],
            "float32_products": [],
            "bfloat16_sums": [],
            "transposes": [],
            "widened_mib": 0.0,
            "narrowed_mib": 0.0,
            "converted_mib": Counter(),
            "loops": [],
            "calls": Counter(),
            "constants": [],
        }
        self._visit(main.regions[0].blocks[0], 1)
        self.found["gflop"] = round(self.found["gflop"], 3)
        for name in ("widened_mib", "narrowed_mib"):
            self.found[name] = round(self.found[name], 1)

    def _visit(self, block: Any, times: int) -> None:
        for one in block.operations:
            op = one.operation
            kind = op.name.removeprefix("stablehlo.")
            if op.name == "func.call":
                name = ir.FlatSymbolRefAttr(op.attributes["callee"]).value
                self._visit(self._functions[name].regions[0].blocks[0], times)
                continue
            self.found["operations"][kind] += 1
            look = getattr(self, f"_see_{kind}", None)
            if look is not None:
                look(op, times)
            if kind == "while":
                trips = _trips(op.regions[0].blocks[0])
                self._visit(op.regions[1].blocks[0], times * (trips or 1))
            elif kind in ("case", "if"):
                for region in op.regions:
                    self._visit(region.blocks[0], times)

    def _see_convolution(self, op: Any, times: int) -> None:
        left, right = (_shape(x) for x in op.operands)
        layout = str(op.attributes["dimension_numbers"])
        numbers = re.findall(r"\[[^]]*\]", layout)
        features = [x.strip() for x in numbers[1].strip("[]").split(",")].index("o")
        taps = math.prod(n for at, n in enumerate(right[0]) if at != features)
        self.found["gflop"] += 2e-9 * times * math.prod(_shape(op.results[0])[0]) * taps
        if numbers[0] == numbers[2] == _NHWC:
            self.found["convolutions"]["NHWC"] += 1
        elif numbers[0] == _KERNEL_GRADIENT:
            self.found["convolutions"]["kernel gradient, NHWC operands"] += 1
        else:
            self.found["convolutions"][layout] += 1
        if "f32" in (left[1], right[1]):
            self.found["float32_convolutions"].append(_place(op))

    def _see_dot_general(self, op: Any, times: int) -> None:
        left, right = (_shape(x) for x in op.operands)
        out = math.prod(_shape(op.results[0])[0])
        numbers = str(op.attributes["dot_dimension_numbers"])
        dims = re.search(r"lhs_contracting_dimensions = \[([\d, ]*)\]", numbers)
        terms = math.prod(left[0][int(at)] for at in re.findall(r"\d+", dims[1])) if dims else 1
        self.found["gflop"] += 2e-9 * times * out * terms
        matrices = min(len(left[0]), len(right[0])) > 1 and terms > 1
        large = max(map(_bytes, op.operands)) >= self._large
        if "f32" in (left[1], right[1]) and matrices and large:
            exact = "precision_config" in op.attributes and "HIGHEST" in str(
                op.attributes["precision_config"]
            )
            self.found["float32_products"].append({**_place(op), "exact": exact})

    def _see_reduce(self, op: Any, times: int) -> None:
        inside = op.regions[0].blocks[0].operations[0].operation.name
        before, after = _shape(op.operands[0]), _shape(op.results[0])
        terms = math.prod(before[0]) // max(math.prod(after[0]), 1)
        if inside == "stablehlo.add" and before[1] in ("bf16", "f16") and terms > _TERMS:
            self.found["bfloat16_sums"].append({**_place(op), "terms": terms})

    def _see_transpose(self, op: Any, times: int) -> None:
        if _bytes(op.operands[0]) >= self._large:
            self.found["transposes"].append(_place(op))

    def _see_convert(self, op: Any, times: int) -> None:
        old, new = _shape(op.operands[0])[1], _shape(op.results[0])[1]
        size = max(_bytes(op.operands[0]), _bytes(op.results[0]))
        if size >= self._large and {old, new} == {"bf16", "f32"}:
            name = "widened_mib" if new == "f32" else "narrowed_mib"
            self.found[name] += size / (1 << 20)
            layer = re.sub(r"\d+", "", _where(op).rpartition("/")[0].rpartition("/")[2])
            self.found["converted_mib"][f"{layer} {old} -> {new}"] += round(size / (1 << 20), 1)

    def _see_while(self, op: Any, times: int) -> None:
        carried = Counter[str]()
        for value in op.operands:
            carried[_shape(value)[1]] += _bytes(value)
        self.found["loops"].append(
            {
                "place": _where(op),
                "trips": _trips(op.regions[0].blocks[0]),
                "carried_mib": {k: round(v / (1 << 20), 2) for k, v in carried.items()},
            }
        )

    def _see_custom_call(self, op: Any, times: int) -> None:
        self.found["calls"][ir.StringAttr(op.attributes["call_target_name"]).value] += 1

    def _see_constant(self, op: Any, times: int) -> None:
        value = op.attributes["value"]
        size = _bytes(op.results[0])
        if size >= self._large and not ir.DenseElementsAttr(value).is_splat:
            self.found["constants"].append(_place(op))


def _trips(condition: Any) -> int | None:
    """Return the trip count of a jax loop from 0 to a constant; None for other loops."""
    for one in condition.operations:
        if one.operation.name == "stablehlo.constant":
            found = re.search(r"dense<(\d+)>", str(one.operation.attributes["value"]))
            return int(found[1]) if found else None
    return None


def _shape(value: Any) -> tuple[list[int], str]:
    kind = ir.RankedTensorType(value.type)
    return list(kind.shape), str(kind.element_type)


def _bytes(value: Any) -> int:
    shape, kind = _shape(value)
    return math.prod(shape) * _BYTES.get(kind, 4)


def _where(op: Any) -> str:
    found = re.search(r'loc\("([^"]*)"', str(op.location))
    return found[1].partition("/")[2] if found else "?"


def _place(op: Any) -> dict[str, Any]:
    return {"place": _where(op), "types": [_text(x) for x in (*op.operands, op.results[0])]}


def _text(value: Any) -> str:
    shape, kind = _shape(value)
    return "x".join([*map(str, shape), kind])


def callbacks(found: dict[str, Any]) -> list[str]:
    """Return the targets of calls back into Python."""
    return [name for name in found["calls"] if "callback" in name or "python" in name]


def row(found: dict[str, Any]) -> dict[str, Any]:
    """Return the counts of one program by table row."""
    products = found["float32_products"]
    count = found["operations"]
    layouts = found["convolutions"]
    return {
        "operations": sum(count.values()),
        "products and convolutions, GFLOP": round(found["gflop"], 1),
        "convolutions": sum(layouts.values()),
        "of these not NHWC": sum(
            n for name, n in layouts.items() if name != "NHWC" and "NHWC operands" not in name
        ),
        "of these float32": len(found["float32_convolutions"]),
        "matrix products": count["dot_general"],
        "of these float32 and large": len(products),
        "of these at full precision": sum(one["exact"] for one in products),
        "long sums in bfloat16": len(found["bfloat16_sums"]),
        "large transposes": len(found["transposes"]),
        "large bf16 -> f32, MiB": found["widened_mib"],
        "large f32 -> bf16, MiB": found["narrowed_mib"],
        "loops": len(found["loops"]),
        "sorts": count["sort"],
        "gathers": count["gather"] + count["dynamic_gather"],
        "scatters": count["scatter"] + count["select_and_scatter"],
        "callbacks": len(callbacks(found)),
        "large constants": len(found["constants"]),
        "state arrays": found["state_arrays"] or "-",
        "of these donated": found["donated"] if found["state_arrays"] else "-",
    }


def main() -> None:
    """Print the table and the places, and write both as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--toy", action="store_true", help="small networks and batches")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--out", type=Path, default=Path("exp/benchmarks/programs.json"))
    arguments = parser.parse_args()
    report = {}
    for name in NAMES:
        lowered, arrays = lower(name, dtype=arguments.dtype, toy=arguments.toy)
        found = look(lowered, arrays, large=1 << 12 if arguments.toy else LARGE)
        report[name] = {"row": row(found), **found}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    rows = [one["row"] for one in report.values()]
    print(f"{'':34s}" + "".join(f"{name:>20s}" for name in NAMES))
    for line in rows[0]:
        print(f"{line:34s}" + "".join(f"{one[line]!s:>20s}" for one in rows))
    for name, found in report.items():
        print(f"\n{name}")
        for kind in ("float32_convolutions", "float32_products", "bfloat16_sums", "transposes"):
            for one in found[kind]:
                print(f"  {kind}: {one['place']}: {' '.join(one['types'])}")
        for one in found["loops"]:
            carried = ", ".join(f"{kind} {size}" for kind, size in one["carried_mib"].items())
            print(f"  loop of {one['trips']}: {one['place']}: carries {carried} MiB")


if __name__ == "__main__":
    main()
