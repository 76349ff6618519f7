#!/usr/bin/env bash
# Sets up .venv on a machine that has nothing but Python 3.11 or newer, then runs a job in it.
#
#   ./launch.sh               the main job: trains a small text detector from nothing (quickstart)
#   ./launch.sh test [ARGS]   the tests; ARGS go to pytest
#   ./launch.sh --config=configs/synth_scene.py   another experiment of the detector
#   ./launch.sh python ARGS   Python inside the environment; any other command of it works likewise
#
# `srun ./launch.sh --config=...`, or the same in a shell on every host, trains on several hosts
# (docs/devices.md).
#
# PYTHON=... names an interpreter, VENV=... another folder; CUDA=1 (or an NVIDIA GPU that is seen)
# installs the cuda12 extra, CUDA=0 does not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
find_python() {
    local name
    for name in ${PYTHON:-python3.12 python3.11 python3.13 python3.14 python3 python}; do
        if command -v "$name" >/dev/null && "$name" -c "$new_enough" 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "launch.sh: Python 3.11 or newer is needed, and ${PYTHON:-none of the usual names} is it" \
        "(python3 says: $(python3 --version 2>&1 || true))." >&2
    echo "Install one (python.org, your system's packages, or 'uv python install 3.12') or name it:" \
        "PYTHON=/path/to/python3.12 ./launch.sh" >&2
    return 1
}

extras=weights
[ "${1:-}" = test ] && extras=weights,dev
if [ "${CUDA:-}" = 1 ] || { [ -z "${CUDA:-}" ] && nvidia-smi -L >/dev/null 2>&1; }; then
    extras=$extras,cuda12
fi

venv=${VENV:-.venv}
# Tasks of one job start together: one of them installs, the others wait for it.
if command -v flock >/dev/null; then
    mkdir -p "$(dirname "$venv")"
    exec 9>"$venv.lock"
    flock 9
fi
if [ ! -x "$venv/bin/python" ]; then
    python=$(find_python)
    echo "launch.sh: making $venv with $("$python" --version)"
    "$python" -m venv "$venv"
fi
# Installs again only when pyproject.toml changed or an extra is new.
stamp=$venv/.installed
state="$(cksum <pyproject.toml)"
if ! grep -qsxF "$state $extras" "$stamp" && ! grep -qsxF "$state weights,dev" "$stamp"; then
    echo "launch.sh: installing ocrjax[$extras]; this takes a minute or two"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
    echo "$state $extras" >>"$stamp"
fi
exec 9>&-

export PATH="$PWD/$venv/bin:$PATH"
[ "${venv#/}" = "$venv" ] || export PATH="$venv/bin:$PATH"
case "${1:-}" in
    "")
        # Its batch is one device's worth.
        export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-0}
        exec python -m craftjax.main --config=configs/quickstart.py
        ;;
    test)
        shift
        exec python -m pytest "$@"
        ;;
    --*)
        exec python -m craftjax.main "$@"
        ;;
    *)
        exec "$@"
        ;;
esac
