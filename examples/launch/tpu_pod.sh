#!/usr/bin/env bash
# Train on all hosts of a Cloud TPU slice:
#
#   TPU_NAME=mine ZONE=us-central2-b WORKDIR=/mnt/shared/run examples/launch/tpu_pod.sh [ARGS]
#
# Each host needs a checkout in ~/ocrjax with an environment that has `jax[tpu]`, and WORKDIR, a
# folder shared by all hosts (NFS). ARGS are training arguments, by default --config=....
# With DRY_RUN=1 the command is printed, not run.
#
# Checked with bash -n, shellcheck and a dry run; the command of a host was run with a mock metadata
# server (tests/app/test_launch.py). Not run on a real TPU: no network of this package has been
# trained on one.
set -euo pipefail

: "${TPU_NAME:?the name of the TPU, as of gcloud compute tpus tpu-vm list}"
: "${ZONE:?its zone}"
: "${WORKDIR:?the work folder, which all hosts share}"
arguments=("$@")
[ "${#arguments[@]}" -gt 0 ] || arguments=(--config=configs/synth_scene.py)

# Each host gets its index and the address of the first host from Google's metadata server. An
# endpoint is a host, or name:id:address.
read -r -d '' on_host <<'HOST' || true
set -euo pipefail
url=${METADATA_URL:-http://metadata.google.internal/computeMetadata/v1/instance/attributes}
ask() { curl -fsS -H 'Metadata-Flavor: Google' "$url/$1"; }
number=$(ask agent-worker-number)
endpoints=$(ask worker-network-endpoints)
first=${endpoints%%,*}
commas=${endpoints//[^,]/}
cd ~/ocrjax
exec .venv/bin/python -m craftjax.main --coordinator="${first##*:}:8476" \
    --process_count=$((${#commas} + 1)) --process_id="$number" "$@"
HOST

quoted=$(printf '%q ' bash -c "$on_host" host "--workdir=$WORKDIR" "${arguments[@]}")
command=(gcloud compute tpus tpu-vm ssh "$TPU_NAME" --zone="$ZONE" --worker=all "--command=$quoted")
if [ -n "${DRY_RUN:-}" ]; then
    printf '%s\n' "${command[@]}"
else
    exec "${command[@]}"
fi
