"""What must be the same on all hosts of a run, and how to say what differs.

Host code: no jax.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_PACKAGES = ("ocrjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_CODE = ("ocrcore", "craftjax", "crnnjax")
# Fields of a config that change nothing about the result: hosts may have other numbers of cores.
_FREE = ("threads", "workers")
_NAMED = 5  # differences that a message names
_ABSENT = object()


class HostsError(ValueError):
    """Processes that do not fit together or do not come; the message says what to do."""


def facts_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same on all hosts when a run starts: versions, code, config.

    Args:
        config: plain values.
    """
    versions: dict[str, Any] = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {"version": versions, "code": _code_digest(), "config": _bound(config)}


def _bound(tree: Any) -> Any:
    """A config without what is a host's own business."""
    if not isinstance(tree, Mapping):
        return tree
    return {name: _bound(value) for name, value in tree.items() if name not in _FREE}


def _code_digest() -> str:
    """Stands for the Python files of the packages: a checkout may differ by a line."""
    root, digest = Path(__file__).parents[2], 0
    for package in _CODE:
        for path in sorted((root / package).rglob("*.py")):
            name = path.relative_to(root).as_posix().encode()
            digest = zlib.crc32(path.read_bytes(), zlib.crc32(name, digest))
    return f"{digest:08x}"


def differences(facts: Sequence[Mapping[str, Any]], hosts: Sequence[str]) -> list[str]:
    """Names what is not the same in all processes: which host has which value.

    Args:
        facts: of each process: values by name, which may have names within.
        hosts: names of the hosts of the processes.

    Returns:
        A text for each name, in order; empty where all is the same.
    """
    flat = [_flat(one) for one in facts]
    texts = []
    for name in sorted({name for one in flat for name in one}):
        groups: dict[str, list[int]] = {}
        for process, one in enumerate(flat):
            groups.setdefault(_shown(one.get(name, _ABSENT)), []).append(process)
        if len(groups) > 1:
            values = "; ".join(
                f"{value} in {_processes(some, hosts)}" for value, some in groups.items()
            )
            texts.append(f"{name} is {values}")
    return texts


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping) or not tree:
        return {prefix: tree}
    dot = "." * bool(prefix)
    return {
        k: v for name, sub in tree.items() for k, v in _flat(sub, f"{prefix}{dot}{name}").items()
    }


def _shown(value: Any) -> str:
    text = "missing" if value is _ABSENT else json.dumps(value, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:60]}... ({zlib.crc32(text.encode()):08x})"


def _processes(numbers: Sequence[int], hosts: Sequence[str]) -> str:
    """Processes with their hosts, as `process 1 (node7)`."""
    named = [f"{number} ({hosts[number]})" for number in numbers[:_NAMED]]
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"process{'es' * (len(numbers) > 1)} {', '.join(named)}{more}"


def refuse_differences(
    facts: Sequence[Mapping[str, Any]], hosts: Sequence[str], *, remedy: str
) -> None:
    """Refuses processes that do not have the same.

    Args:
        facts: as for `differences`.
        hosts: as for `differences`.
        remedy: what to do, as the end of the message.

    Raises:
        HostsError: names what differs, who has which value, and the remedy.
    """
    texts = differences(facts, hosts)
    if texts:
        more = f"; and {len(texts) - _NAMED} more differences" if len(texts) > _NAMED else ""
        raise HostsError(f"the hosts differ: {'; '.join(texts[:_NAMED])}{more}. {remedy}")
