"""Folders of photos with labeled words, as they come: for training on words and for evaluation.

`find_folders` knows the names that data sets unpack to; `open_words` opens the part of them that is
for training, for choosing a checkpoint, or for the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ocrcore.data.readers.characters import PhotoFolder
from ocrcore.data.readers.icdar import DONT_CARE
from ocrcore.images import SUFFIXES
from ocrcore.pages import LabelError

SPLITS = ("all", "train", "validation", "test")
ORDERS = ("name", "spread")

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
    ("test/images", "test/labels"),
)


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
    order: str = "name",
) -> PhotoFolder:
    """Opens a part of a data set.

    Args:
        root: its folder.
        images: folder of the pictures below it; empty looks for it, see `find_folders`. Its test
            set is in `test` with the same names, if it has one.
        labels: folder of the label files; both are named, or neither.
        split: "all"; "train": all but the last ones; "validation": those; "test": the data set's
            own test set, or the same as "validation" where it has none.
        holdout: share of the photos that "train" leaves out, one at least; 0 leaves out none, and
            there is no "validation".
        layout: as for `PhotoFolder`.
        dont_care: likewise.
        order: of the pictures: "name": `img_10` before `img_2`; "spread":
            `PhotoFolder.spread`, so that the last ones are like the others.

    Raises:
        LabelError: folders that are not there or hold no picture.
        ValueError: an unknown split or order, or a share out of range.
    """
    for name, value, known in (("split", split, SPLITS), ("order", order, ORDERS)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(known)}")
    if not 0 <= holdout < 1:
        raise ValueError(f"holdout is {holdout!r}, expected 0 or more and less than 1")
    if bool(images) != bool(labels):
        raise ValueError(f"images is {images!r} and labels is {labels!r}: name both or neither")
    root = Path(root)
    own_test = None
    if split == "test" and not images:
        own_test = find_folders(root, test=True)
    elif split == "test" and all((root / "test" / name).is_dir() for name in (images, labels)):
        own_test = root / "test" / images, root / "test" / labels
    found = own_test or ((root / images, root / labels) if images else find_folders(root))
    assert found is not None  # only a test set may be missing
    folder = PhotoFolder(*found, None, layout=layout, dont_care=dont_care)
    if order == "spread":
        folder = folder.spread()
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


def open_section(section: Mapping[str, Any]) -> PhotoFolder:
    """Opens what a section of a config names, of kind "words".

    Args:
        section: `root`, `images` and `gt` (the label files) below it, `split`, `holdout`, `layout`,
            `dont_care` and `order` as for `open_words`; `start` and `stop`, if given, are the first
            picture that counts and the first that does not any more.

    Raises:
        LabelError: folders that are not there or hold no picture.
        ValueError: an unknown split or order, or a share out of range.
    """
    return open_words(
        section["root"],
        images=section.get("images", ""),
        labels=section.get("gt", ""),
        split=section["split"],
        holdout=section["holdout"],
        layout=section["layout"],
        dont_care=tuple(section["dont_care"]),
        order=section.get("order", "name"),
    ).part(section.get("start", 0), section.get("stop"))
