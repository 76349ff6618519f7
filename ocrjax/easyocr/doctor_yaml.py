"""The doctor's look at `NAME.yaml`, as PyYAML reads it for EasyOCR."""

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
"""Larger files are refused; the longest charset of EasyOCR takes 20 kB."""

# What looks like a blank, and is none to YAML.
_ODD = "\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u200c"
_ODD += "\u200d\u202f\u205f\u2060\u3000\ufeff"
_OPT_TXT = {"experiment_name", "imgW"}  # keys of EasyOCR's trainer and the benchmark's
# As YAML counts them.
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_STRING = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_WORDS = {
    "int": "a number",
    "float": "a number with a fraction",
    "bool": "true or false",
    "null": "nothing at all",
    "timestamp": "a date",
    "merge": "a merge key",
    "value": "a default value",
}

Fault = tuple[str, str] | tuple[str, str, bool]
"""What is wrong, what to do, and whether it is serious (it is by default)."""


@dataclass(slots=True)
class Settings:
    """What a Reader takes from the file, as far as it can be read.

    Attributes:
        characters: None where there is no text of that name.
        params: whole numbers and strings of `network_params`; None where they cannot be read.
    """

    characters: str | None = None
    params: dict[str, int | str | None] | None = None


def examine_yaml(path: Path, *, rows: int | None) -> tuple[Settings, list[Fault]]:
    """Reads the settings and says what is wrong with them.

    Args:
        path: of the file.
        rows: classes of the weights, where known: decides whether blanks can have been lost.
    """
    settings = Settings()
    try:
        text = _read(path)
    except ValueError as error:
        return settings, [(str(error), "save it as a small text file in UTF-8")]
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        return settings, [_explain(error, text)]
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        return settings, [(f"YAML cannot read it: {str(error)[:300]}", "write the file again")]
    if not isinstance(root, yaml.MappingNode):
        return settings, [
            (
                "it is no list of settings",
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
                "these are the settings of a training (opt.txt), which a Reader does not know",
                f"write those that a Reader needs: {', '.join(_EXAMPLES)}; `ocrjax export easyocr "
                "FILE.pth --charset FILE --name NAME` writes them",
            )
        ]
    faults: list[Fault] = []
    nodes: dict[str, yaml.Node] = {}
    for key, node in root.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in nodes:
                faults.append((f"{key.value} is there twice; the last counts", "leave out one"))
            nodes[key.value] = node
    for name in ("imgH", "lang_list", "character_list", "network_params"):
        if name not in nodes:
            faults.append((f"no {name}, which a Reader needs", f"add {_EXAMPLES[name]}"))
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
                "symbols stands in place of character_list where a Reader decides what it may "
                "read: characters in neither symbols nor the languages' files are never read",
                "leave symbols out",
                False,
            )
        )
    return settings, faults


_EXAMPLES = {
    "imgH": "the height of the training pictures, for instance imgH: 64",
    "lang_list": "the languages that a Reader may ask for, for instance lang_list: ['en']",
    "character_list": 'the characters of the training in their order, character_list: "0123..."',
    "network_params": "what Model takes beside num_class, for instance network_params: "
    "{input_channel: 1, output_channel: 256, hidden_size: 256}",
}


def _read(path: Path) -> str:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes, expected at most {MAX_BYTES:,}")
    try:
        data = path.read_bytes()
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError("it is UTF-16 (Windows calls that Unicode), and a Reader takes UTF-8")
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: it is not UTF-8 (byte {error.start})") from error


def _explain(error: yaml.MarkedYAMLError, text: str) -> Fault:
    """What a syntax error means here, and the line as it should be."""
    mark = error.problem_mark or error.context_mark
    number = mark.line if mark else 0
    lines = _LINE_END.split(text)
    reason = error.problem or error.context
    if number < len(lines) and "\t" in _indentation(lines[number]):
        return f"line {number + 1}: it is indented by a tab, which YAML refuses", "indent by blanks"
    if odd := _odd_blank(text, mark.index if mark else 0):
        return odd
    # A text that is not closed fails further down than the line that begins it.
    context = error.context_mark.line if error.context_mark else number
    found = [(at, raw) for at in (number, context) if at < len(lines) and (raw := _raw(lines[at]))]
    found = [pair for pair in found if not pair[1][1].strip().isdecimal()]  # quotes mend no number
    found.sort(key=lambda pair: pair[1][0] != "character_list")
    if not found:
        return f"line {number + 1}: YAML cannot read it ({reason})", "mend that line"
    number, (key, value) = found[0]
    problem = f"line {number + 1}: YAML cannot read it ({reason})"
    first = value[0]
    if first == "'":
        problem += "; within single quotes an apostrophe is written twice"
        value = value[1:].removesuffix("'")
    elif first == '"':
        problem += '; within double quotes \\ is written \\\\ and " is written \\"'
        value = value[1:].removesuffix('"')
    else:
        problem += f"; without quotes {_special(value)!r} means something to YAML"
    return problem, f"write {key}: {quote(value)}"


def _keys(node: yaml.Node) -> list[str]:
    """Names in a mapping; of other nodes none."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return [key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)]


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _odd_blank(text: str, end: int) -> Fault | None:
    """The first blank of another kind that lines begin with, in the lines up to a place."""
    for number, line in enumerate(_LINE_END.split(text[:end]), 1):
        for column, char in enumerate(line, 1):
            if char in _ODD and not (number == column == 1 and char == "\ufeff"):
                name = unicodedata.name(char, "").lower()
                return (
                    f"line {number}, column {column}: U+{ord(char):04X} ({name}) is no blank to "
                    "YAML, though it looks like one, or like nothing",
                    "put a usual blank there, or nothing",
                )
            if not char.isspace():
                break
    return None


def _special(value: str) -> str:
    if value[0] in "@`%!&*|>[]{}#-?:,":
        return value[0]
    return ": " if ": " in value else value[0]


def _raw(line: str) -> tuple[str, str] | None:
    """Key and value of a line as they stand there, with all blanks but the first."""
    match = re.match(r"\s*([A-Za-z_]\w*):(?: (.*))?$", line)
    return (match[1], match[2]) if match and match[2] else None


def _kind(node: yaml.Node) -> str:
    return node.tag.rpartition(":")[2]


def _shown(node: yaml.ScalarNode) -> str:
    """What YAML makes of a scalar that it does not take for text, for a message."""
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
            "write the height of the training pictures, for instance imgH: 64",
        )
    elif value != 64:
        yield (
            f"imgH is {value}: a Reader of this network sets the height for all Readers of its "
            "process, also for EasyOCR's own networks, which need 64",
            "make no other Reader in the same process",
            False,
        )


def _examine_languages(node: yaml.Node | None) -> Iterator[Fault]:
    if node is None:
        return
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        shown = node.value if isinstance(node, yaml.ScalarNode) and node.value else "no language"
        yield (
            f"lang_list is {str(shown)[:40]!r}, expected a list (a Reader refuses every language)",
            "write lang_list: ['en'] or one language a line after '- '",
        )
        return
    for item in node.value:
        if not isinstance(item, yaml.ScalarNode):
            yield "lang_list holds something that is no code of a language", "write ['en']"
        elif item.tag != _STRING:
            yield (
                f"the language {item.value} is read as {_shown(item)}",
                f'put it in quotes: "{item.value}"',
            )
        elif item.value not in LANGUAGES:
            yield (
                f"EasyOCR has no file of characters for the language {item.value!r} "
                f"(easyocr/character/{item.value}_char.txt), which a Reader opens",
                "name a language that it has, such as en; the characters that are read are "
                "character_list's all the same",
            )


def _examine_characters(
    node: yaml.Node, text: str, rows: int | None
) -> tuple[str | None, list[Fault]]:
    if isinstance(node, yaml.SequenceNode):
        items = [str(item.value) for item in node.value if isinstance(item, yaml.ScalarNode)]
        return None, [
            (
                "character_list is a list; a Reader expects one text",
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
                f"{where}without quotes {value[:1]!r} begins a list of settings",
                f"write character_list: {quote(value)}",
            )
        ]
    plain = node.style is None
    # A block ends its lines by itself; in quotes a line end is a character.
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
                f"{where}character_list is a block, whose line ends count as characters",
                f"write character_list: {quote(characters.strip())}",
            )
        )
    twice = [char for char, count in Counter(characters).items() if count > 1]
    if twice:
        faults.append(
            (
                f"{where}{''.join(twice)!r} stands in character_list more than once; each time is "
                "a class of its own",
                "list each character once, if the network was trained so",
                False,
            )
        )
    return characters, faults


def _plain_faults(node: yaml.ScalarNode, text: str, value: str, where: str) -> Iterator[Fault]:
    """What a text without quotes has lost."""
    remedy = f"write character_list: {quote(value)}"
    rest = text[node.end_mark.index :].partition("\n")[0]
    start = text[: node.start_mark.index].rpartition("\n")[2]
    if re.match(r"\s+#", rest):
        yield (
            f"{where}without quotes {rest.strip()[:20]!r} is a comment: {len(node.value)} "
            f"characters are left of {len(value)}",
            remedy,
        )
    elif re.match(r"\s+$", rest) or start.endswith("  "):
        yield (
            f"{where}without quotes the blanks at the start and the end are lost: "
            f"{len(node.value)} characters are left of {len(value)}",
            f"{remedy}, if the blank is one of the characters",
        )
    if value.lstrip().startswith("&"):
        yield f"{where}without quotes the text after & is the name of an anchor", remedy
    if node.end_mark.line > node.start_mark.line and "\n" in node.value.strip():
        yield f"{where}the lines are joined by blanks", remedy


def _examine_params(node: yaml.Node) -> tuple[dict[str, int | str | None], list[Fault]]:
    if not isinstance(node, yaml.MappingNode):
        return {}, [
            (
                "network_params is no list of settings (a Reader says: argument after ** must be a "
                "mapping)",
                f"write {_EXAMPLES['network_params'].partition('instance ')[2]}",
            )
        ]
    params: dict[str, int | str | None] = {}
    faults: list[Fault] = []
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):  # may be a tree without an end
            faults.append(("network_params has a name that is no text", "leave it out"))
            continue
        name = str(key.value)[:80]
        if name == "num_class":
            faults.append(
                (
                    "network_params has num_class, which a Reader passes itself (got multiple "
                    "values for keyword argument 'num_class')",
                    "leave it out",
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
    except (ValueError, IndexError):  # of a text that is empty
        return None
