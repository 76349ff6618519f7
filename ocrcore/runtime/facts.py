"""Facts that must be the same on all hosts of a run, and messages about those that differ.

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
# Config fields that do not change the result: hosts may have different numbers of cores.
_FREE = ("threads", "workers")
_NAMED = 5  # most differences to name in a message
_ABSENT = object()


class HostsError(ValueError):
    """Processes of a run differ or are missing; the message says what to do."""


def facts_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that must be the same on all hosts: versions, code, config.

    Args:
        config: the config as plain values.
    """
    versions: dict[str, Any] = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {"version": versions, "code": _code_digest(), "config": _bound(config)}


def _bound(tree: Any) -> Any:
    """Return a config without the fields that may differ between hosts."""
    if not isinstance(tree, Mapping):
        return tree
    return {name: _bound(value) for name, value in tree.items() if name not in _FREE}


def _code_digest() -> str:
    """Return a digest of the packages' Python files: checkouts may differ by a line."""
    root, digest = Path(__file__).parents[2], 0
    for package in _CODE:
        for path in sorted((root / package).rglob("*.py")):
            name = path.relative_to(root).as_posix().encode()
            digest = zlib.crc32(path.read_bytes(), zlib.crc32(name, digest))
    return f"{digest:08x}"


def differences(facts: Sequence[Mapping[str, Any]], hosts: Sequence[str]) -> list[str]:
    """Describe the facts that differ between processes: which host has which value.

    Args:
        facts: facts of each process: values by name, possibly nested.
        hosts: host name of each process.

    Returns:
        A text for each name that differs, sorted by name.
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
    """Name processes with their hosts, as in `process 1 (node7)`."""
    named = [f"{number} ({hosts[number]})" for number in numbers[:_NAMED]]
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"process{'es' * (len(numbers) > 1)} {', '.join(named)}{more}"


def refuse_differences(
    facts: Sequence[Mapping[str, Any]], hosts: Sequence[str], *, remedy: str
) -> None:
    """Raise an error if the facts of the processes differ.

    Args:
        facts: as for `differences`.
        hosts: as for `differences`.
        remedy: last sentence of the message: what to do.

    Raises:
        HostsError: the facts differ; the message names the values, their hosts and the remedy.
    """
    texts = differences(facts, hosts)
    if texts:
        more = f"; and {len(texts) - _NAMED} more differences" if len(texts) > _NAMED else ""
        raise HostsError(f"the hosts differ: {'; '.join(texts[:_NAMED])}{more}. {remedy}")
