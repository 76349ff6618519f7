"""What EasyOCR 1.7.2 expects of a custom network: folders, names, languages, and its YAML.

A network NAME consists of three files: `model/NAME.pth` (weights), `user_network/NAME.yaml`
(characters and sizes) and `user_network/NAME.py` (the class `Model`), below `~/.EasyOCR` or the
folder in EASYOCR_MODULE_PATH.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from ocrcore.weights.named import easyocr_model_folder

# Languages with a character file in the package; EasyOCR opens one for each language of a Reader.
_LANGUAGES = """
ab abq ady af am ang ar as ava az be bg bh bho bn braille bs ch_pin ch_sim ch_tra che cs cy da dar
de en es et fa fr ga ge gom gre he hi hr hu id inh is it ja kas kbd kn ko ku la lbe lez lt lv mah
mai mi ml mn mr ms mt my ne new nl no oc or os pb pi pl ps pt ro rs_cyrillic rs_latin ru sck sh si
sk sl sq sv sw ta tab te th ti tjk tl tr udm ug uk ur uz vi
"""
LANGUAGES = frozenset(_LANGUAGES.split())
# Names of EasyOCR's own networks, and the files that it looks for.
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
# Published weights: EasyOCR deletes a file of such a name with another md5 and downloads its own.
PUBLISHED = frozenset(filter(None, BUILT_IN.values())) | {
    "craft_mlt_25k",
    "pretrained_ic15_res18",
    "pretrained_ic15_res50",
}
# Modules that EasyOCR has imported already: a custom network of such a name is never found.
_LOADED = {"bidi", "cv2", "easyocr", "imageio", "networkx", "ninja", "numpy", "PIL", "pyclipper"}
_LOADED |= {"scipy", "shapely", "skimage", "torch", "torchvision", "yaml"}
# Part of the standard library as well, but missing from `sys.stdlib_module_names`.
_LOADED |= {"test"}


class ExportError(ValueError):
    """A network that cannot be exported as requested; the message says why and what to do."""


def network_folder() -> Path:
    """Return the folder where EasyOCR looks for `NAME.yaml` and `NAME.py`."""
    return easyocr_model_folder().parent / "user_network"


def name_fault(name: str) -> str | None:
    """Return why EasyOCR cannot load a network of this name; None if it can.

    EasyOCR imports `NAME.py` as a module, and its folder comes last in `sys.path`, so any other
    module of that name wins.
    """
    if name in BUILT_IN:
        return f"{name!r} is the name of one of EasyOCR's own networks, which it loads instead"
    if name in PUBLISHED:
        return (
            f"{name}.pth is one of EasyOCR's own files: EasyOCR deletes a file of that name with "
            "another md5 and downloads the published one"
        )
    if "." in name or not name:
        return f"{name!r} is not a module name: Python takes the part before the dot as a package"
    if name in sys.stdlib_module_names or name in _LOADED:
        return f"{name!r} is the name of a Python module, which is imported instead of {name}.py"
    return None


def installed_module(name: str) -> str | None:
    """Return the path of another installed module of this name, which would win; or None."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    origin = spec.origin if spec else None
    installed = {"site-packages", "dist-packages"} & set(Path(origin).parts) if origin else None
    return origin if installed else None
