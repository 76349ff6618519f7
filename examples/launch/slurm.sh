#!/usr/bin/env bash
# Train on several nodes of a Slurm cluster: sbatch examples/launch/slurm.sh [TRAINING_ARGS]
#
# Checked with bash -n and shellcheck, and with a mock srun that sets Slurm's variables
# (tests/app/test_launch.py). Not run on a real cluster.
#
#SBATCH --job-name=ocrjax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
# Two minutes before the time limit, and on preemption, save a checkpoint and exit with status 0.
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

# The checkout and its run directory (exp/...) must be in a folder shared by all nodes.
cd "${OCRJAX_CHECKOUT:-$SLURM_SUBMIT_DIR}"

arguments=("$@")
[ "${#arguments[@]}" -gt 0 ] || arguments=(--config=configs/synth_scene.py)

# Tasks find each other by Slurm's variables. --kill-on-bad-exit ends the step if a task fails; by
# then all tasks have printed the reason, within --host_timeout seconds.
exec srun --kill-on-bad-exit=1 ./launch.sh "${arguments[@]}"
