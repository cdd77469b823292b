#!/usr/bin/env bash
# Run by Snakemake in the new environment, from the working directory. --no-deps: the lock is
# complete, and grad-cam's own opencv wheel must stay out (see pyproject.toml).
set -euo pipefail
lock=envs/requirements.lock
if [ ! -f "$lock" ]; then
    echo "no $lock here: run snakemake --sdm conda from the checkout" >&2
    exit 1
fi
python -m pip install --no-deps --requirement "$lock"
# the command `camground`; its code is read from the checkout that runs (see rules/common.smk)
python -m pip install --no-deps --no-build-isolation --editable .
