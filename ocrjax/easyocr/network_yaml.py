"""The YAML file of a recognizer for EasyOCR: `NAME.yaml` in the folder `user_network`."""

from __future__ import annotations

import json
from collections.abc import Mapping


def quote(text: str) -> str:
    r"""Quote a text as YAML in double quotes on one line, so that any YAML reader restores it.

    Everything that a reader could misinterpret (Unicode line ends, byte order marks, control
    characters, unusual spaces) is written as `\x..`, `\u....` or `\U...`.
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
    """Return the text of `NAME.yaml`, with every field that EasyOCR reads.

    Args:
        characters: the characters of the classes from 1 on, in order; class 0 is the blank.
        height: height of the network's input in pixels.
        languages: language codes that a Reader may ask for.
        params: the arguments of `Model` except `num_class`.
    """
    lines = [
        "# Read by EasyOCR. Keep the quotes: without them YAML drops spaces, cuts at ' #' and",
        "# reads digits as a number.",
        f"imgH: {height:d}",
        "lang_list:",
        *(f"    - {quote(code)}" for code in languages),
        f"character_list: {quote(characters)}",
        "network_params:",
    ]
    for key, value in params.items():
        lines.append(f"    {key}: {quote(value) if isinstance(value, str) else json.dumps(value)}")
    return "\n".join(lines) + "\n"
