#!/usr/bin/env bash
# Makes an environment with RapidOCR and ONNX Runtime on a CPU: tests/in_rapidocr/setup.sh FOLDER
set -euo pipefail
folder=${1:?name a folder for the environment: $0 FOLDER}
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    rapidocr==3.10.0 "onnxruntime>=1.20,<2" numpy
# The proof: a Reader with the models of the package itself.
"$folder/bin/python" -c "
import cv2, numpy as np
from rapidocr import RapidOCR

page = np.full((90, 300, 3), 255, np.uint8)
cv2.putText(page, 'RapidOCR', (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.7, (0, 0, 0), 3)
found = RapidOCR()(page, use_det=False, use_cls=False, use_rec=True)
print('RapidOCR reads', found.txts)
"
echo "RAPIDOCR_PYTHON=$folder/bin/python"
