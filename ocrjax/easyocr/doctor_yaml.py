"""The doctor's checks of `NAME.yaml`, as PyYAML reads it for EasyOCR."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ocrjax.easyocr.network_yaml import quote
from ocrjax.easyocr.rules import LANGUAGES

MAX_BYTES = 1 << 20
"""Size limit of the file; the longest charset of EasyOCR takes 20 kB."""

# Characters that look like a space but are none in YAML.
_ODD = "\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u200c"
_ODD += "\u200d\u202f\u205f\u2060\u3000\ufeff"
_OPT_TXT = {"experiment_name", "imgW"}  # keys of EasyOCR's trainer and of dtrb's opt.txt
# Line breaks as YAML defines them.
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_STRING = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_WORDS = {
    "int": "a number",
    "float": "a number with a fraction",
    "bool": "true or false",
    "null": "an empty value",
    "timestamp": "a date",
    "merge": "a merge key",
    "value": "a default value",
}

Fault = tuple[str, str] | tuple[str, str, bool]
"""A problem, its remedy, and whether it is serious (the default)."""


@dataclass(slots=True)
class Settings:
    """The settings that EasyOCR uses, as far as they can be read.

    Attributes:
        characters: `character_list`; None if it is missing or not a string.
        params: integers and strings of `network_params`; None if they cannot be read.
    """

    characters: str | None = None
    params: dict[str, int | str | None] | None = None


def examine_yaml(path: Path, *, rows: int | None) -> tuple[Settings, list[Fault]]:
    """Read the settings; return them and their faults.

    Args:
        path: path of the file.
        rows: number of classes in the weights, if known; it tells whether spaces were lost.
    """
    settings = Settings()
    try:
        text = _read(path)
    except ValueError as error:
        return settings, [(str(error), "save it as a small UTF-8 text file")]
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        return settings, [_explain(error, text)]
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        return settings, [(f"YAML cannot parse it: {str(error)[:300]}", "write the file again")]
    if not isinstance(root, yaml.MappingNode):
        return settings, [
            (
                "it is not a list of settings (a YAML mapping)",
                "it needs imgH, lang_list, character_list and network_params",
            )
        ]
    keys = set(_keys(root))
    inner = [name for _, node in root.value for name in _keys(node)]
    odd = _odd_blank(text, len(text))
    if odd and any(name[:1] in _ODD for name in (*keys, *inner)):
        return settings, [odd]
    if keys >= _OPT_TXT and "character_list" not in keys:
        return settings, [
            (
                "these are training settings (opt.txt), which easyocr.Reader does not know",
                f"write the settings of a Reader: {', '.join(_EXAMPLES)}; `ocrjax export easyocr "
                "FILE.pth --charset FILE --name NAME` does it",
            )
        ]
    faults: list[Fault] = []
    nodes: dict[str, yaml.Node] = {}
    for key, node in root.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in nodes:
                faults.append((f"{key.value} is given twice; the last one counts", "remove one"))
            nodes[key.value] = node
    for name in ("imgH", "lang_list", "character_list", "network_params"):
        if name not in nodes:
            faults.append((f"{name} is missing; EasyOCR needs it", f"add {_EXAMPLES[name]}"))
    faults += _examine_height(nodes.get("imgH"))
    faults += _examine_languages(nodes.get("lang_list"))
    if node := nodes.get("character_list"):
        settings.characters, found = _examine_characters(node, text, rows)
        faults += found
    if node := nodes.get("network_params"):
        settings.params, found = _examine_params(node)
        faults += found
    if (node := nodes.get("symbols")) and isinstance(node, yaml.ScalarNode):
        faults.append(
            (
                "symbols replaces character_list when EasyOCR decides which characters it may "
                "read: characters in neither symbols nor the files of the languages are never read",
                "remove symbols",
                False,
            )
        )
    return settings, faults


_EXAMPLES = {
    "imgH": "the height of the training images, such as imgH: 64",
    "lang_list": "the languages that a Reader may ask for, such as lang_list: ['en']",
    "character_list": "the characters of the training in the same order, such as "
    'character_list: "0123..."',
    "network_params": "the arguments of Model except num_class, such as network_params: "
    "{input_channel: 1, output_channel: 256, hidden_size: 256}",
}


def _read(path: Path) -> str:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes, expected at most {MAX_BYTES:,}")
    try:
        data = path.read_bytes()
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError("it is UTF-16 (Windows calls that Unicode), but EasyOCR reads UTF-8")
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: it is not UTF-8 (byte {error.start})") from error


def _explain(error: yaml.MarkedYAMLError, text: str) -> Fault:
    """Explain a syntax error, and show the line as it should be."""
    mark = error.problem_mark or error.context_mark
    number = mark.line if mark else 0
    lines = _LINE_END.split(text)
    reason = error.problem or error.context
    if number < len(lines) and "\t" in _indentation(lines[number]):
        return f"line {number + 1}: it is indented by a tab, which YAML forbids", "use spaces"
    if odd := _odd_blank(text, mark.index if mark else 0):
        return odd
    # A text that is not closed fails further down than the line that begins it.
    context = error.context_mark.line if error.context_mark else number
    found = [(at, raw) for at in (number, context) if at < len(lines) and (raw := _raw(lines[at]))]
    found = [pair for pair in found if not pair[1][1].strip().isdecimal()]  # quotes fix no number
    found.sort(key=lambda pair: pair[1][0] != "character_list")
    if not found:
        return f"line {number + 1}: YAML cannot parse it ({reason})", "fix that line"
    number, (key, value) = found[0]
    problem = f"line {number + 1}: YAML cannot parse it ({reason})"
    first = value[0]
    if first == "'":
        problem += "; inside single quotes an apostrophe must be doubled"
        value = value[1:].removesuffix("'")
    elif first == '"':
        problem += '; inside double quotes \\ must be written \\\\ and " must be written \\"'
        value = value[1:].removesuffix('"')
    else:
        problem += f"; without quotes {_special(value)!r} has a special meaning in YAML"
    return problem, f"write {key}: {quote(value)}"


def _keys(node: yaml.Node) -> list[str]:
    """The keys of a mapping; none for other nodes."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return [key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)]


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _odd_blank(text: str, end: int) -> Fault | None:
    """The first line up to `end` that is indented with a character that is no space in YAML."""
    for number, line in enumerate(_LINE_END.split(text[:end]), 1):
        for column, char in enumerate(line, 1):
            if char in _ODD and not (number == column == 1 and char == "\ufeff"):
                name = unicodedata.name(char, "").lower()
                return (
                    f"line {number}, column {column}: U+{ord(char):04X} ({name}) looks like a "
                    "space, or is invisible, but is no space in YAML",
                    "replace it by a space, or remove it",
                )
            if not char.isspace():
                break
    return None


def _special(value: str) -> str:
    if value[0] in "@`%!&*|>[]{}#-?:,":
        return value[0]
    return ": " if ": " in value else value[0]


def _raw(line: str) -> tuple[str, str] | None:
    """Key and value of a line as written, with all spaces but the first after the colon."""
    match = re.match(r"\s*([A-Za-z_]\w*):(?: (.*))?$", line)
    return (match[1], match[2]) if match and match[2] else None


def _kind(node: yaml.Node) -> str:
    return node.tag.rpartition(":")[2]


def _shown(node: yaml.ScalarNode) -> str:
    """What YAML reads a scalar as if not as a string, for a message."""
    kind = _kind(node)
    number = _whole_number(node)
    return _WORDS.get(kind, f"a {kind}") if number is None else f"the number {number}"


def _examine_height(node: yaml.Node | None) -> Iterator[Fault]:
    if node is None:
        return
    value = _whole_number(node)
    if value is None or value <= 0:
        shown = node.value if isinstance(node, yaml.ScalarNode) else "a list"
        yield (
            f"imgH is {shown!r}, expected a whole number of pixels",
            "write the height of the training images, such as imgH: 64",
        )
    elif value != 64:
        yield (
            f"imgH is {value}: EasyOCR sets this height for all Readers of the process, also for "
            "its own networks, which need 64",
            "create no other Reader in the same process",
            False,
        )


def _examine_languages(node: yaml.Node | None) -> Iterator[Fault]:
    if node is None:
        return
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        shown = node.value if isinstance(node, yaml.ScalarNode) and node.value else "no language"
        yield (
            f"lang_list is {str(shown)[:40]!r}, expected a list (EasyOCR refuses every language)",
            "write lang_list: ['en'] or one language per line after '- '",
        )
        return
    for item in node.value:
        if not isinstance(item, yaml.ScalarNode):
            yield "lang_list holds something other than language codes", "write ['en']"
        elif item.tag != _STRING:
            yield (
                f"the language {item.value} is read as {_shown(item)}",
                f'put it in quotes: "{item.value}"',
            )
        elif item.value not in LANGUAGES:
            yield (
                f"EasyOCR has no character file for the language {item.value!r} "
                f"(easyocr/character/{item.value}_char.txt), but opens one for each language",
                "name a language that it has, such as en; the network still reads the characters "
                "of character_list",
            )


def _examine_characters(
    node: yaml.Node, text: str, rows: int | None
) -> tuple[str | None, list[Fault]]:
    if isinstance(node, yaml.SequenceNode):
        items = [str(item.value) for item in node.value if isinstance(item, yaml.ScalarNode)]
        return None, [
            (
                "character_list is a list; EasyOCR expects one string",
                f"write character_list: {quote(''.join(items))}",
            )
        ]
    number = node.start_mark.line
    where = f"line {number + 1}: "
    raw = _raw(_LINE_END.split(text)[number])
    value = raw[1] if raw else str(node.value)
    if not isinstance(node, yaml.ScalarNode):
        return None, [
            (
                f"{where}without quotes {value[:1]!r} begins a mapping",
                f"write character_list: {quote(value)}",
            )
        ]
    plain = node.style is None
    # A block has newlines of its own; inside quotes a newline is a character.
    written = node.value.strip("\n") if node.style in ("|", ">") else node.value
    if not written and (not plain or not value):
        return None, [(f"{where}character_list is empty", f"add {_EXAMPLES['character_list']}")]
    if node.tag != _STRING:
        lost = value if node.tag == _NULL or plain else node.value
        what = _shown(node) if node.tag.startswith("tag:yaml.org") else f"of the type {node.tag}"
        return None, [
            (
                f"{where}without quotes YAML reads {lost!r} as {what}",
                f"write character_list: {quote(lost)}",
            )
        ]
    characters = str(node.value)
    faults: list[Fault] = []
    fits = rows is not None and len(characters) + 1 == rows
    if plain and not fits:
        faults += _plain_faults(node, text, value, where)
    if node.style in ("|", ">") and not fits:
        faults.append(
            (
                f"{where}character_list is a YAML block, whose newlines count as characters",
                f"write character_list: {quote(characters.strip())}",
            )
        )
    twice = [char for char, count in Counter(characters).items() if count > 1]
    if twice:
        faults.append(
            (
                f"{where}{''.join(twice)!r} occurs more than once in character_list; each "
                "occurrence is a separate class",
                "list each character once, unless the network was trained with the repetition",
                False,
            )
        )
    return characters, faults


def _plain_faults(node: yaml.ScalarNode, text: str, value: str, where: str) -> Iterator[Fault]:
    """Report what an unquoted string has lost."""
    remedy = f"write character_list: {quote(value)}"
    rest = text[node.end_mark.index :].partition("\n")[0]
    start = text[: node.start_mark.index].rpartition("\n")[2]
    if re.match(r"\s+#", rest):
        yield (
            f"{where}without quotes {rest.strip()[:20]!r} is a comment: {len(node.value)} of "
            f"{len(value)} characters are left",
            remedy,
        )
    elif re.match(r"\s+$", rest) or start.endswith("  "):
        yield (
            f"{where}without quotes the spaces at the start and the end are lost: "
            f"{len(node.value)} of {len(value)} characters are left",
            f"{remedy}, if the space is one of the characters",
        )
    if value.lstrip().startswith("&"):
        yield f"{where}without quotes the text after & is the name of an anchor", remedy
    if node.end_mark.line > node.start_mark.line and "\n" in node.value.strip():
        yield f"{where}the lines are joined by spaces", remedy


def _examine_params(node: yaml.Node) -> tuple[dict[str, int | str | None], list[Fault]]:
    if not isinstance(node, yaml.MappingNode):
        return {}, [
            (
                "network_params is not a mapping (EasyOCR says: argument after ** must be a "
                "mapping)",
                f"write {_EXAMPLES['network_params'].partition('instance ')[2]}",
            )
        ]
    params: dict[str, int | str | None] = {}
    faults: list[Fault] = []
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):  # may be a recursive structure
            faults.append(("network_params has a key that is not a string", "remove it"))
            continue
        name = str(key.value)[:80]
        if name == "num_class":
            faults.append(
                (
                    "network_params has num_class, which EasyOCR passes itself (it says: got "
                    "multiple values for keyword argument 'num_class')",
                    "remove it",
                )
            )
        number = _whole_number(value)
        if number is None and name in ("input_channel", "output_channel", "hidden_size"):
            shown: Any = value.value if isinstance(value, yaml.ScalarNode) else "a list"
            faults.append(
                (
                    f"network_params.{name} is {str(shown)[:40]!r}, expected a whole number",
                    "write a number",
                )
            )
        text = value.value if isinstance(value, yaml.ScalarNode) else None
        params[name] = text if number is None else number
    return params, faults


def _whole_number(node: yaml.Node) -> int | None:
    if not isinstance(node, yaml.ScalarNode) or _kind(node) != "int" or len(node.value) > 18:
        return None
    try:
        return int(yaml.constructor.SafeConstructor().construct_yaml_int(node))
    except (ValueError, IndexError):  # IndexError for an empty string
        return None
