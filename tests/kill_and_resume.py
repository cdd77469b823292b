"""Kill a study at random moments, start it again with the same command, compare it with an undisturbed run.

    python tests/kill_and_resume.py --kills 100

Runs in copies of the checkout below a temporary folder. Each kill waits for a stage, the next of all in
turn or one after it where that is done already, and a random share of the time that it takes; then it kills
all processes, Snakemake alone or the stage's jobs alone, with SIGKILL. A study that is finished is deleted
and begun again. The exit status is 1 when a run fails, a file differs from the undisturbed run's (times
aside) or something is left behind.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import psutil

from conftest import copy_workflow

STAGES = (
    *("data", "proposals", "features", "matcher", "gradcam", "train", "predict"),
    *("evaluate", "baselines", "ablation", "report", "tracking"),
)
VICTIMS = ("everything", "snakemake", "job")
# What says when and how fast a run was: logs, benchmarks, the ids of MLflow's runs.
TIMES = ("logs", "benchmarks", "tracking.json")


def digest(file: Path) -> str:
    """Of a file's bytes, but for the seconds that a training took."""
    content = file.read_bytes()
    if file.name == "summary.json":
        content = re.sub(rb'"seconds": [\d.]+', b"", content)
    return hashlib.sha256(content).hexdigest()


def differences(one: Path, other: Path) -> list[str]:
    """The files that two results folders of a study do not share byte for byte, times aside."""

    def files(root: Path) -> dict[str, str]:
        found = (file.relative_to(root) for file in root.rglob("*") if file.is_file())
        kept = (file for file in found if file.parts[0] not in TIMES and file.name != ".snakemake_timestamp")
        return {file.as_posix(): digest(root / file) for file in kept}

    mine, theirs = files(one), files(other)
    return sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))


def leftovers(results: Path) -> list[str]:
    """What an interrupted run may have left below a results folder."""
    hidden = [file for file in results.rglob(".*") if file.name.endswith(".part")]
    return sorted(str(file) for file in [*hidden, *results.glob("*/resume/*/*")])


def jobs(snakemake: psutil.Process, stages: Sequence[str]) -> list[tuple[str, psutil.Process]]:
    """The processes `camground <stage>` of these stages below a Snakemake, each with its stage."""
    found = []
    for process in snakemake.children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        found += [
            (stage, process)
            for program, stage in itertools.pairwise(words)
            if Path(program).name == "camground" and stage in stages
        ]
    return found


def kill(
    process: subprocess.Popen[bytes],
    stages: Sequence[str],
    victim: str,
    share: float,
    seconds: dict[str, float],
) -> tuple[str, float] | None:
    """Wait for a job of `stages` and this share of its stage's `seconds`, then kill; returns which stage it
    was and how long the wait, None when the run or the job ended before."""
    snakemake = psutil.Process(process.pid)
    while process.poll() is None:
        if found := jobs(snakemake, stages):
            stage = found[0][0]
            time.sleep(share * seconds[stage])
            break
        time.sleep(0.05)
    if process.poll() is not None:
        return None
    alive = jobs(snakemake, [stage])
    if victim == "everything":
        os.killpg(process.pid, signal.SIGKILL)
    elif victim == "snakemake":
        process.kill()
    else:
        for _, job in alive:
            job.kill()
    process.wait()
    return (stage, share * seconds[stage]) if alive or victim != "job" else None


def main() -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--configfile", default="configs/smoke.yaml")
    parser.add_argument("--config", nargs="*", default=[], help="as of snakemake")
    parser.add_argument("--cores", default="2")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    command = [sys.executable, "-m", "snakemake", "--cores", options.cores]
    command += ["--configfile", options.configfile]
    command += ["--config", *options.config] if options.config else []
    environment = {**os.environ, "MLFLOW_TRACKING_URI": ""}
    with tempfile.TemporaryDirectory(prefix="camground-kills-") as name:
        whole, broken = Path(name, "undisturbed"), Path(name, "killed")
        for folder in (whole, broken):
            folder.mkdir()
            copy_workflow(folder)
        print("undisturbed run", flush=True)
        subprocess.run(command, cwd=whole, env=environment, check=True, capture_output=True)
        (study,) = (path.parent for path in (whole / "results").glob("*/ablation.parquet"))
        seconds = {
            stage: max(
                (pd.read_csv(file, sep="\t")["s"].max() for file in study.glob(f"benchmarks/{stage}*")),
                default=1,
            )
            for stage in STAGES
        }
        results, done, faults = broken / "results", 0, []
        while done < options.kills:
            for path in (results, broken / ".snakemake"):
                shutil.rmtree(path, ignore_errors=True)
            for number in range(len(STAGES)):
                victim, share = rng.choice(VICTIMS), rng.random()
                with (
                    (broken / "run.log").open("wb") as log,
                    subprocess.Popen(
                        *(command,),
                        cwd=broken,
                        env=environment,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    ) as process,
                ):
                    struck = kill(process, STAGES[number:], victim, share, seconds)
                if struck:
                    done += 1
                    print(f"{done}: {victim}, {struck[1]:.1f} s into {struck[0]}", flush=True)
                if done == options.kills:
                    break
            end = subprocess.run(command, cwd=broken, env=environment, capture_output=True, text=True)
            found = [f"differs: {file}" for file in differences(study, results / study.name)]
            found += [f"left behind: {file}" for file in leftovers(results)]
            found += [end.stdout + end.stderr] if end.returncode else []
            print(*found or ["the same bytes as undisturbed, nothing left behind"], sep="\n", flush=True)
            faults += found
    print(json.dumps({"kills": done, "faults": len(faults)}))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
