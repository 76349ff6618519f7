"""Folders of images without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ocrcore.images import find_images, read_image
from ocrcore.pages import Page, Sample


class PictureFolder(Sequence[Sample]):
    """The images of a folder and its subfolders, as pages without words, ordered by name.

    Args:
        folder: the folder; or a single image.

    Raises:
        ImageError: the folder does not exist, or holds no image.

    Attributes:
        paths: paths of the images.
    """

    def __init__(self, folder: str | Path) -> None:
        self.paths = find_images([Path(folder)])

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """Return the path of the image at an index."""
        return str(self.paths[index])

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        """Read the image at an index.

        Raises:
            IndexError: the index is not in `[0, len)`.
            ImageError: the file cannot be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        path = self.paths[index]
        image = read_image(path)
        height, width = image.shape[:2]
        return Sample(image, Page(height, width, (), str(path)))
