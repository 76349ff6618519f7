"""The doctor's checks of `NAME.py`, which is parsed and never executed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ocrjax.easyocr.doctor_yaml import MAX_BYTES, Fault

_THERE = {"torch", "torchvision", "numpy", "cv2", "PIL", "scipy", "easyocr", "skimage"}
_THERE |= {"bidi", "ninja", "pyclipper", "shapely", "typing_extensions", "yaml"}


def examine_module(
    path: Path, *, params: Mapping[str, int | str | None] | None = None
) -> list[Fault]:
    """Return the faults of a network's Python module.

    Args:
        path: path of the file.
        params: `network_params` of the YAML, if known.
    """
    if path.stat().st_size > MAX_BYTES:
        return [
            (f"it has more than {MAX_BYTES:,} bytes", "a network takes only a few kB of Python")
        ]
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        return [(f"line {error.lineno}: Python cannot parse it: {error.msg}", "fix that line")]
    except (ValueError, RecursionError, MemoryError) as error:
        return [(f"Python cannot parse it: {error}", "write the file again")]
    faults = list(_imports(tree, path))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if model := classes.get("Model"):
        faults += _examine_class(model, params)
    elif not {"Model", "*"} & _names(tree):
        there = ", ".join(classes) or "no class at all"
        faults.append(
            (
                f"it has no class Model, which EasyOCR instantiates; it has {there}",
                "rename the network's class to Model",
            )
        )
    return faults


def _names(tree: ast.Module) -> set[str]:
    """The names that imports and assignments define at the top level."""
    out = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            out |= {(alias.asname or alias.name) for alias in node.names}
        elif isinstance(node, ast.Assign):
            out |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return out


def _imports(tree: ast.Module, path: Path) -> Iterator[Fault]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield (
                f"line {node.lineno}: a relative import (from {'.' * node.level}"
                f"{node.module or ''}): EasyOCR imports the file by itself, not as a package",
                "write the classes into this file, or import them from easyocr.model.modules",
            )
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        else:
            continue
        for name in names:
            top = name.partition(".")[0]
            beside = path.with_name(f"{top}.py").is_file() or path.with_name(top).is_dir()
            if top not in _THERE and top not in sys.stdlib_module_names:
                yield (
                    f"line {node.lineno}: it imports {name}, which EasyOCR does not include"
                    + ("; the module is next to this file" if beside else ""),
                    "put the code that it needs into this file"
                    if not beside
                    else f"copy {top} into EasyOCR's folder user_network as well",
                    not beside,
                )


def _examine_class(
    model: ast.ClassDef, params: Mapping[str, int | str | None] | None
) -> Iterator[Fault]:
    if not model.bases:
        yield (
            f"line {model.lineno}: Model has no base class, so it cannot load weights",
            "write class Model(nn.Module)",
        )
    methods = {node.name: node for node in model.body if isinstance(node, ast.FunctionDef)}
    if "forward" not in methods and len(model.bases) == 1 and _is_module(model.bases[0]):
        yield (
            f"line {model.lineno}: Model has no forward, which EasyOCR calls",
            "write def forward(self, input, text)",
        )
    elif forward := methods.get("forward"):
        least, most = _takes(forward)
        if not least <= 2 <= most:
            yield (
                f"line {forward.lineno}: forward takes {least if least > 2 else most} "
                "arguments; EasyOCR calls it with two, images and text",
                "write def forward(self, input, text); a CTC recognizer ignores text",
            )
    if "__init__" in methods:
        yield from _examine_init(methods["__init__"], params)


def _examine_init(
    init: ast.FunctionDef, params: Mapping[str, int | str | None] | None
) -> Iterator[Fault]:
    arguments = init.args
    names = [a.arg for a in (*arguments.args[1:], *arguments.kwonlyargs)]
    where = f"line {init.lineno}: "
    anything = arguments.kwarg is not None
    if "num_class" not in names and not anything:
        yield (
            f"{where}Model does not take num_class, which EasyOCR passes by keyword; it takes "
            f"{', '.join(names) or 'no arguments'}",
            "write def __init__(self, num_class, ...)",
        )
    if params is None:
        return
    without_default = set(a.arg for a in arguments.args[1:][: _required(arguments)])
    without_default |= {
        a.arg
        for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    }
    unknown = [name for name in params if name not in names and name != "num_class"]
    if unknown and not anything:
        yield (
            f"{where}Model does not take {', '.join(unknown)}, which network_params in the .yaml "
            "has",
            f"it takes {', '.join(names)}",
        )
    missing = sorted(without_default - set(params) - {"num_class"})
    if missing:
        yield (
            f"{where}Model needs {', '.join(missing)}, missing from network_params in the .yaml",
            "add it there",
        )


def _required(arguments: ast.arguments) -> int:
    return len(arguments.args) - 1 - len(arguments.defaults)


def _takes(function: ast.FunctionDef) -> tuple[int, float]:
    """The least and greatest number of arguments that a function takes after self."""
    arguments = function.args
    names = len(arguments.posonlyargs) + len(arguments.args) - 1
    return names - len(arguments.defaults), float("inf") if arguments.vararg else names


def _is_module(base: ast.expr) -> bool:
    return "Module" in (getattr(base, "attr", None), getattr(base, "id", None))
