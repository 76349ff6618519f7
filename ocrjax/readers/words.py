"""Folders of photos with labelled words, as they come: for training on words and for evaluation.

`find_folders` knows the names that data sets unpack to; `open_words` opens the part of them that is
for training, for choosing a checkpoint, or for the test.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ocrjax.images import SUFFIXES, image_size, read_image
from ocrjax.pages import Page, Sample, Word
from ocrjax.readers.icdar import DONT_CARE, LabelError, read_icdar

SPLITS = ("all", "train", "validation", "test")

# Folders of pictures and of labels; the first pair that is there is taken.
_TRAIN = (
    ("ch4_training_images", "ch4_training_localization_transcription_gt"),  # ICDAR 2015
    ("Challenge2_Training_Task12_Images", "Challenge2_Training_Task1_GT"),  # ICDAR 2013
    ("train/images", "train/gt"),
    ("images", "gt"),
    ("images", "labels"),
    (".", "."),
)
_TEST = (
    ("ch4_test_images", "Challenge4_Test_Task1_GT"),
    ("Challenge2_Test_Task12_Images", "Challenge2_Test_Task1_GT"),
    ("test/images", "test/gt"),
)


class WordFolder(Sequence[Sample]):
    """The photos of a folder with their words, by index.

    Pictures are in the order of their names, character by character; nothing but names is read
    before a photo is asked for.

    Args:
        images: folder of the pictures; those in folders inside it are not read.
        labels: folder of `gt_NAME.txt` or `NAME.txt`; may be the same.
        layout: as for `ocrjax.readers.icdar.read_icdar`.
        dont_care: likewise.

    Raises:
        LabelError: a folder that does not exist, or holds no picture.

    Attributes:
        images: folder of the pictures.
        labels: folder of the label files.
    """

    def __init__(
        self,
        images: str | Path,
        labels: str | Path,
        *,
        layout: str = "auto",
        dont_care: Sequence[str] = DONT_CARE,
    ) -> None:
        self.images, self.labels = Path(images), Path(labels)
        self._layout, self._dont_care = layout, tuple(dont_care)
        for folder in (self.images, self.labels):
            if not folder.is_dir():
                raise LabelError(folder, 0, str(folder), "a folder")
        self._names = sorted(
            path.name
            for path in self.images.iterdir()
            if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        if not self._names:
            raise LabelError(self.images, 0, "no picture", f"pictures ({', '.join(SUFFIXES)})")

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """Returns the path of the picture of an index."""
        return str(self.images / self._names[index])

    def part(self, start: int, stop: int | None) -> WordFolder:
        """The photos from an index on, up to another."""
        other = object.__new__(WordFolder)
        other.__dict__ = {**self.__dict__, "_names": self._names[start:stop]}
        return other

    def page(self, index: int, *, bad: list[LabelError] | None = None) -> Page:
        """Returns the labels of a photo; of the picture only the header is read.

        Args:
            index: of the photo.
            bad: as for `read_icdar`.

        Raises:
            IndexError: the index is not in `[0, len)`.
            LabelError: labels that are missing or cannot be.
            ImageError: a file that is no picture.
        """
        path, words = self._labels(index, bad)
        height, width = image_size(path)
        return Page(height, width, tuple(words), str(path))

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        """Returns the photo of an index; raises as `page` does."""
        path, words = self._labels(index, None)
        image = read_image(path)
        height, width = image.shape[:2]
        return Sample(image, Page(height, width, tuple(words), str(path)))

    def _labels(self, index: int, bad: list[LabelError] | None) -> tuple[Path, list[Word]]:
        if not 0 <= index < len(self):
            raise IndexError(f"photo {index} of {len(self)}")
        path = self.images / self._names[index]
        found = [self.labels / f"{prefix}{path.stem}.txt" for prefix in ("gt_", "")]
        label = next((one for one in found if one.is_file()), None)
        if label is None:
            raise LabelError(
                path, 0, path.name, f"{found[0].name} or {found[1].name} in {self.labels}"
            )
        return path, read_icdar(label, layout=self._layout, dont_care=self._dont_care, bad=bad)


def find_folders(root: str | Path, *, test: bool = False) -> tuple[Path, Path] | None:
    """Finds the pictures and the labels of a data set.

    Args:
        root: its folder.
        test: look for a test set, not for what is trained on.

    Returns:
        Folders of the pictures and of the label files; None where there is no test set.

    Raises:
        LabelError: nothing to train on.
    """
    root = Path(root)
    for images, labels in _TEST if test else _TRAIN:
        pictures = root / images
        if not (pictures.is_dir() and (root / labels).is_dir()):
            continue
        if any(path.suffix.lower() in SUFFIXES for path in pictures.iterdir()):
            return pictures, root / labels
    if test:
        return None
    known = ", ".join(f"{images} + {labels}" for images, labels in _TRAIN[:-1])
    raise LabelError(
        root,
        0,
        str(root),
        f"a folder with pictures and label files, in it or in folders of it named {known}; or name "
        "yours as `images` and `labels`",
    )


def open_words(
    root: str | Path,
    *,
    images: str = "",
    labels: str = "",
    split: str = "all",
    holdout: float = 0.1,
    layout: str = "auto",
    dont_care: Sequence[str] = DONT_CARE,
) -> WordFolder:
    """Opens a part of a data set.

    Args:
        root: its folder.
        images: folder of the pictures below it; empty looks for it, see `find_folders`.
        labels: folder of the label files; both are named, or neither.
        split: "all"; "train": all but the last ones by name; "validation": those; "test": the
            data set's own test set, or the same as "validation" where it has none.
        holdout: share of the photos that "train" leaves out, one at least; 0 leaves out none, and
            there is no "validation".
        layout: as for `WordFolder`.
        dont_care: likewise.

    Raises:
        LabelError: folders that are not there or hold no picture.
        ValueError: an unknown split or a share out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if not 0 <= holdout < 1:
        raise ValueError(f"holdout is {holdout!r}, expected 0 or more and less than 1")
    if bool(images) != bool(labels):
        raise ValueError(f"images is {images!r} and labels is {labels!r}: name both or neither")
    own_test = find_folders(root, test=True) if split == "test" and not images else None
    found = (Path(root) / images, Path(root) / labels) if images else own_test or find_folders(root)
    assert found is not None  # only a test set may be missing
    folder = WordFolder(*found, layout=layout, dont_care=dont_care)
    if split == "all" or own_test or (split == "train" and not holdout):
        return folder
    left_out = max(1, round(len(folder) * holdout)) if holdout else 0
    if not 0 < left_out < len(folder):
        raise LabelError(
            folder.images,
            0,
            f"{len(folder)} pictures, holdout={holdout}",
            f"some for {split}: two pictures or more, and a holdout above 0",
        )
    at = len(folder) - left_out
    return folder.part(0, at) if split == "train" else folder.part(at, None)
