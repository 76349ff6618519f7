"""What EasyOCR 1.7.2 expects of a network of one's own: folders, names, languages, and its YAML.

A network NAME is three files: `model/NAME.pth` (weights), `user_network/NAME.yaml` (characters and
sizes) and `user_network/NAME.py` (its class `Model`), in `~/.EasyOCR` or where EASYOCR_MODULE_PATH
points.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from ocrcore.weights.named import easyocr_model_folder

# Those with a file of characters in the package; a Reader opens one for each of its languages.
_LANGUAGES = """
ab abq ady af am ang ar as ava az be bg bh bho bn braille bs ch_pin ch_sim ch_tra che cs cy da dar
de en es et fa fr ga ge gom gre he hi hr hu id inh is it ja kas kbd kn ko ku la lbe lez lt lv mah
mai mi ml mn mr ms mt my ne new nl no oc or os pb pi pl ps pt ro rs_cyrillic rs_latin ru sck sh si
sk sl sq sv sw ta tab te th ti tjk tl tr udm ug uk ur uz vi
"""
LANGUAGES = frozenset(_LANGUAGES.split())
# What EasyOCR takes for networks of its own, and the files that it then looks for.
BUILT_IN = {
    "standard": "",
    "generation1": "",
    "generation2": "",
    "latin_g1": "latin",
    "zh_tra_g1": "chinese",
    "zh_sim_g1": "chinese_sim",
    "japanese_g1": "japanese",
    "korean_g1": "korean",
    "thai_g1": "thai",
    "devanagari_g1": "devanagari",
    "cyrillic_g1": "cyrillic",
    "arabic_g1": "arabic",
    "tamil_g1": "tamil",
    "bengali_g1": "bengali",
    "english_g2": "english_g2",
    "latin_g2": "latin_g2",
    "zh_sim_g2": "zh_sim_g2",
    "japanese_g2": "japanese_g2",
    "korean_g2": "korean_g2",
    "telugu_g2": "telugu",
    "kannada_g2": "kannada",
    "cyrillic_g2": "cyrillic_g2",
}
# Published weights: EasyOCR deletes a file of such a name whose md5 is another, and downloads.
PUBLISHED = frozenset(filter(None, BUILT_IN.values())) | {
    "craft_mlt_25k",
    "pretrained_ic15_res18",
    "pretrained_ic15_res50",
}
# Imported before a network of one's own, which would then never be found.
_LOADED = {"bidi", "cv2", "easyocr", "imageio", "networkx", "ninja", "numpy", "PIL", "pyclipper"}
_LOADED |= {"scipy", "shapely", "skimage", "torch", "torchvision", "yaml"}
# Of the standard library, too, though `sys.stdlib_module_names` leaves it out.
_LOADED |= {"test"}


class ExportError(ValueError):
    """A network that cannot be exported as asked; the message says why and what to do."""


def network_folder() -> Path:
    """Returns the folder where EasyOCR looks for `NAME.yaml` and `NAME.py`."""
    return easyocr_model_folder().parent / "user_network"


def name_fault(name: str) -> str | None:
    """Says why EasyOCR cannot load a network of this name; None if it can.

    EasyOCR imports `NAME.py` as a module that any other of that name hides, because its folder
    comes last in `sys.path`.
    """
    if name in BUILT_IN:
        return f"{name!r} is the name of a network that EasyOCR brings, which it loads instead"
    if name in PUBLISHED:
        return (
            f"{name}.pth is a file of EasyOCR's own: it deletes one whose md5 is another, and "
            "downloads the published one"
        )
    if "." in name or not name:
        return f"{name!r} is no name of a module: Python looks for a package before the dot"
    if name in sys.stdlib_module_names or name in _LOADED:
        return f"{name!r} is the name of a Python module, which is imported instead of {name}.py"
    return None


def installed_module(name: str) -> str | None:
    """Where another module of this name is installed here, whose import would win; or None."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    origin = spec.origin if spec else None
    installed = {"site-packages", "dist-packages"} & set(Path(origin).parts) if origin else None
    return origin if installed else None
