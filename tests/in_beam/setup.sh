#!/usr/bin/env bash
# Makes an environment with ocrjax and Apache Beam: tests/in_beam/setup.sh FOLDER
set -euo pipefail
folder=${1:?name a folder for the environment: $0 FOLDER}
here=$(cd "$(dirname "$0")/../.." && pwd)
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$here[beam,lmdb]"
"$folder/bin/python" -c "import apache_beam; print('apache-beam', apache_beam.__version__)"
echo "BEAM_PYTHON=$folder/bin/python"
