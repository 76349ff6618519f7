#!/usr/bin/env bash
# Trains on several nodes of a Slurm cluster; sbatch examples/launch/slurm.sh [ARGS of a training]
#
# Checked: bash -n, shellcheck; its srun line with a stand-in for srun that sets what Slurm sets
# (tests/app/test_launch.py). Not run on a real cluster.
#
#SBATCH --job-name=ocrjax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
# Two minutes before the limit, and where the job is preempted: the state is saved, status 0.
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

# The checkout and its work folder (exp/...) must lie in a folder that all nodes share.
cd "${OCRJAX_CHECKOUT:-$SLURM_SUBMIT_DIR}"

arguments=("$@")
[ "${#arguments[@]}" -gt 0 ] || arguments=(--config=configs/synth_scene.py)

# Tasks find each other by what Slurm tells them. --kill-on-bad-exit ends a step of which a task
# has failed; all have said why by then, within --host_timeout seconds.
exec srun --kill-on-bad-exit=1 ./launch.sh "${arguments[@]}"
