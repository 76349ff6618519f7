"""The YAML file of a recognizer for EasyOCR: `NAME.yaml` in the folder `user_network`."""

from __future__ import annotations

import json
from collections.abc import Mapping


def quote(text: str) -> str:
    r"""Writes a text as YAML in double quotes, on one line, so that any YAML reader gets it back.

    All that a reader could take for something else (line ends of any script, byte order marks,
    control characters, blanks other than the usual one) is written as `\x..`, `\u....` or `\U...`.
    """
    out = []
    for char in text:
        code = ord(char)
        if char in '"\\':
            out.append("\\" + char)
        elif char.isprintable():
            out.append(char)
        elif code < 0x100:
            out.append(f"\\x{code:02x}")
        else:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(out) + '"'


def network_yaml(
    characters: str,
    *,
    height: int,
    languages: tuple[str, ...],
    params: Mapping[str, int | str | None],
) -> str:
    """Writes `NAME.yaml`, with every field that a Reader reads.

    Args:
        characters: of the classes from 1 on, in their order; class 0 is the blank.
        height: of the pictures that the network sees.
        languages: codes that a Reader may ask for.
        params: what `Model` takes beside `num_class`.
    """
    lines = [
        "# Read by EasyOCR. Leave the quotes: without them YAML drops blanks, cuts at ' #' and",
        "# takes digits for a number.",
        f"imgH: {height:d}",
        "lang_list:",
        *(f"    - {quote(code)}" for code in languages),
        f"character_list: {quote(characters)}",
        "network_params:",
    ]
    for key, value in params.items():
        lines.append(f"    {key}: {quote(value) if isinstance(value, str) else json.dumps(value)}")
    return "\n".join(lines) + "\n"
