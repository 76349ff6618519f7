"""The documentation: links and anchors lead somewhere, commands and fields that it names exist."""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from ml_collections import ConfigDict

from ocrjax.cli.main import _COMMANDS

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "benchmarks/**/*.md", "data/**/*.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
PAGES = [path.relative_to(ROOT).as_posix() for path in FILES]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)


@cache
def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", path.read_text("utf-8"))


def blocks(page: str, language: str) -> list[str]:
    return [
        code for name, code in FENCE.findall((ROOT / page).read_text("utf-8")) if name == language
    ]


def slugs(path: Path, *, github: bool) -> set[str]:
    """Anchors of a page's headings, by GitHub's rule or Python-Markdown's, that of the site."""
    found: dict[str, int] = {}
    for title in re.findall(r"^#+ (.*)$", prose(path), re.M):
        text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title).replace("`", "").strip().lower()
        slug = re.sub(r"[^\w\s-]", "", text)
        slug = slug.replace(" ", "-") if github else re.sub(r"[-\s]+", "-", slug)
        found[slug] = found.get(slug, -1) + 1
    return set(found)


def links_of(page: str) -> list[str]:
    text = prose(ROOT / page)
    return re.findall(r"\]\(\s*([^)\s]+)\s*\)", text) + re.findall(r'<img src="([^"]+)"', text)


def named_in_code() -> list[tuple[Path, str]]:
    """The pages that files of code name."""
    folders = ("craftjax", "crnnjax", "ocrcore", "ocrjax", "configs", "examples", "benchmarks")
    return [
        (path, name)
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"docs/\w+\.md", path.read_text("utf-8"))
    ]


def test_there_is_something_to_look_at():
    assert sum(len(links_of(page)) for page in PAGES) > 100
    assert sum(len(blocks(page, "python")) for page in PAGES) > 20
    assert sum(block.count("ocrjax ") for page in PAGES for block in blocks(page, "")) > 30
    assert len(named_in_code()) > 5


@pytest.mark.parametrize("page", PAGES)
def test_links(page):
    path = ROOT / page
    for link in links_of(page):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{page}: {link}: no such file"
        if page.startswith("docs/"):
            assert target.parent == ROOT / "docs", f"{page}: {link}: not on the site"
        if anchor:
            for github in (True, False):
                assert anchor in slugs(target, github=github), f"{page}: {link}: no such heading"


def test_the_site_has_every_page():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]

    def files(node: object) -> list[str]:
        if isinstance(node, str):
            return [node]
        return [
            name
            for part in (node.values() if isinstance(node, dict) else node)
            for name in files(part)
        ]

    listed = files(nav)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_pages_that_code_names_exist():
    for path, name in named_in_code():
        assert (ROOT / name).exists(), f"{path}: {name}"


@pytest.mark.parametrize("page", PAGES)
def test_python_compiles(page):
    for code in blocks(page, "python"):
        compile(code, page, "exec")


@cache
def options_of(command: str) -> set[str]:
    parser = argparse.ArgumentParser()
    import_module(f"ocrjax.cli.{command.replace('-', '_')}").add_arguments(parser)
    return {option for action in parser._actions for option in action.option_strings}


@cache
def config_of(file: str) -> ConfigDict:
    return runpy.run_path(str(ROOT / file))["get_config"]()


def has_field(config: object, names: list[str]) -> bool:
    for name in names:
        if name == "NAME":
            return True  # of a data set, which the reader chooses
        if not isinstance(config, ConfigDict) or name not in config:
            return False
        config = config[name]
    return True


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page):
    for block in (*blocks(page, ""), *blocks(page, "bash")):
        for line in block.replace("\\\n", " ").splitlines():
            if not re.match(r"\s*(\./launch\.sh |\w+=\S+ )*(ocrjax|python|\./launch\.sh)\b", line):
                continue
            words = shlex.split(line, comments=True)
            if "ocrjax" in words[:-1]:
                command, *rest = words[words.index("ocrjax") + 1 :]
                assert command in _COMMANDS or command.startswith("-"), f"{page}: {line}"
                for word in rest if command in _COMMANDS else ():
                    if word.startswith("--"):
                        assert word.partition("=")[0] in options_of(command), f"{page}: {line}"
            for word in words:
                if re.fullmatch(r"(benchmarks|examples|tests)/\S+\.(py|sh)", word):
                    assert (ROOT / word).exists(), f"{page}: {line}"
            files = [word for word in words if re.match(r"--config=configs/\w+\.py", word)]
            for file in (name.partition("=")[2].partition(":")[0] for name in files):
                assert (ROOT / file).exists(), f"{page}: {line}"
                for word in words:
                    if word.startswith("--config."):
                        names = word.partition("=")[0].removeprefix("--config.").split(".")
                        assert has_field(config_of(file), names), f"{page}: {word}"
