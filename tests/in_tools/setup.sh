#!/usr/bin/env bash
# Makes environments with the annotation tools: tests/in_tools/setup.sh FOLDER
set -euo pipefail
folder=${1:?name a folder for the environments: $0 FOLDER}
make() {
    python3 -m venv "$folder/$1"
    "$folder/$1/bin/python" -m pip install --quiet --disable-pip-version-check "${@:2}"
}
make tools datumaro==1.13.12 label-studio-sdk lmdb pillow
make labelme labelme==6.3.1
make doctr python-doctr torch torchvision
