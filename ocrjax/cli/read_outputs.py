"""The files that `ocrjax read` writes for each image file: hOCR, ALTO, PDF, overlays."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ocrcore.files import write_text
from ocrcore.images import load_image, write_image
from ocrcore.pages import Page
from ocrjax.cli.pictures import Picture, drawn_paths, picture_title

_FOLDERS = {"hocr": ".hocr", "alto": ".xml", "pdf": ".pdf", "overlay": ".png"}


class Outputs:
    """The output files of each image file."""

    def __init__(
        self, arguments: argparse.Namespace, pictures: Mapping[Path, Sequence[Picture]]
    ) -> None:
        self.folders = {name: folder for name in _FOLDERS if (folder := getattr(arguments, name))}
        self._pictures = pictures
        each = [picture for pages in pictures.values() for picture in pages]
        self._of: dict[str, dict[Picture, Path]] = {
            name: drawn_paths(
                each if name == "overlay" else list(pictures), folder, (_FOLDERS[name],)
            )
            for name, folder in self.folders.items()
        }

    def of_files(
        self, files: Iterable[Path], pictures: Mapping[Path, Sequence[Picture]]
    ) -> Outputs:
        """Return the outputs of some files only, which pickle to less."""
        few = copy.copy(self)
        few._pictures = {path: pictures[path] for path in files}
        each = {picture for pages in few._pictures.values() for picture in pages}
        few._of = {
            name: {
                k: out
                for k, out in paths.items()
                if k in (each if name == "overlay" else few._pictures)
            }
            for name, paths in self._of.items()
        }
        return few

    def of(self, path: Path) -> list[Path]:
        """Return all outputs of an image file."""
        return [
            paths[picture]
            for name, paths in self._of.items()
            for picture in (self._pictures[path] if name == "overlay" else [path])
        ]

    def written(self, path: Path) -> bool:
        """Return whether all outputs of an image file exist."""
        return all(one.is_file() for one in self.of(path))

    def write(self, path: Path, read: Sequence[tuple[Picture, Page]]) -> None:
        """Write the requested outputs of an image file's pages."""
        from ocrjax import __version__

        if not read:
            return
        pages = [page for _, page in read]
        if "hocr" in self._of:
            from ocrjax.page_files import to_hocr

            software = f"ocrjax {__version__}"
            write_text(self._of["hocr"][path], to_hocr(pages, title=path.name, software=software))
        if "alto" in self._of:
            from ocrjax.page_files import to_alto

            text = to_alto(pages, name=path.name, software=("ocrjax", __version__))
            write_text(self._of["alto"][path], text)
        if "pdf" in self._of:
            from ocrjax.pdf import write_pdf

            write_pdf(self._of["pdf"][path], read, title=path.name)
        if "overlay" in self._of:
            for picture, page in read:
                _draw(picture, page, self._of["overlay"][picture])


def _draw(picture: Picture, page: Page, out: Path) -> None:
    from ocrcore.drawing import FIRST_CORNER, FOUND, draw_caption, draw_readings, grid

    image = draw_readings(load_image(picture), page)
    title = f"{picture_title(picture)}: {len(page.words)} words"
    caption = draw_caption(title, (("read", FOUND), FIRST_CORNER), width=image.shape[1])
    write_image(out, grid([image, caption], columns=1))
