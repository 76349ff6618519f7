#!/usr/bin/env bash
# Makes an environment with EasyOCR 1.7.2 on a CPU: tests/in_easyocr/setup.sh FOLDER
#
# EasyOCR and torchvision come without their dependencies: those of torchvision would bring a torch
# for GPUs, and opencv-python-headless in another version than ours resizes crops otherwise.
set -euo pipefail
folder=${1:?name a folder for the environment: $0 FOLDER}
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy opencv-python-headless scikit-image scipy shapely pyclipper \
    python-bidi PyYAML pillow ninja
"${pip[@]}" --no-deps torchvision==0.28.0 easyocr==1.7.2
echo "EASYOCR_PYTHON=$folder/bin/python"
