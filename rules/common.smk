"""What all rules share; no rule is defined here.

Purpose: check the config before any job, name the study's files, cut out each stage's part of the
config, list each stage's code, and say how long the run will still take.
Inputs: the config.
Outputs: none.
"""

import os
import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

HOME = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
# The checkout's own package, so that the code that is listed as input is the code that is read.
sys.path.insert(0, str(HOME / "src"))
# Jobs run under the Python that runs Snakemake, its environment activated or not. (`--sdm conda`
# activates its own environment later and so wins.)
os.environ.update(
    PYTHONPATH=str(HOME / "src"),
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    # threads that wait for work sleep: spinning ones starve the jobs beside them
    OMP_WAIT_POLICY="PASSIVE",
)

from camground.data.config import DataConfig
from camground.evaluation.baselines import BASELINES
from camground.study.code_closure import code_files
from camground.study.config import section, typed, validate, variant_config, variants_to_run
from camground.study.errors import UserError
from camground.study.estimate import Estimate

config.update(typed(config))
try:
    validate(config)
except UserError as error:
    raise WorkflowError(str(error))

DATASET = config["dataset"]
SEEDS = config["seeds"]
VARIANTS = variants_to_run(config)
REPORT = f"{config['results_dir']}/{config['report']['path']}"
# More than a machine has are cut to its cores.
ALL_CORES = 16
# One job at a time on a graphics card; without a card a job claims none and they run side by side.
GPU = int(shutil.which("nvidia-smi") is not None)


wildcard_constraints:
    variant="|".join(config["variants"]),
    seed=r"\d+",


def study(path):
    """A file of this study."""
    return f"{config['results_dir']}/{DATASET}/{path}"


# The section of the study's kind of data.
DATA_KIND = DataConfig.parse(config["data"], "data").chosen
# What jobs that look at pixels need beside the images table.
PICTURES = {"pictures": study("data/pictures")} if DATA_KIND.makes_pictures else {}


def code(stage):
    """The files that `python -m camground.<stage>` runs, so that an edit reruns the stage."""
    files = code_files(f"camground.stages.{stage}", HOME / "src" / "camground")
    if stage == "data":
        files += code_files(DATA_KIND.full_module(), HOME / "src" / "camground")
    here = Path.cwd()
    return [str(file.relative_to(here) if file.is_relative_to(here) else file) for file in files]


def trained(variant, seed, file):
    """A file of one training's folder."""
    return study(f"{variant}/seed{seed}/{file}")


def all_trained(file):
    """That file of every training of the study."""
    return [trained(variant, seed, file) for variant in VARIANTS for seed in SEEDS]


def all_baselines(file):
    """That file of every baseline; one without chance runs with the first seed alone."""
    return [
        trained(name, seed, file)
        for name, baseline in BASELINES.items()
        for seed in baseline.seeds(SEEDS)
    ]


def source_tables():
    """The files that name a data set's photographs; those themselves are too many to list.

    Files that are not there are left out: the stage says which are missing, and what to do.
    """
    root = Path(config["data_root"] or "").expanduser()
    files = [root / file for file in DATA_KIND.source_files()]
    return [str(file) for file in files if file.exists()]


def train_config(wildcards):
    """The sections of the variant's config that training reads."""
    return section(
        variant_config(config, wildcards.variant),
        *("model", "losses", "train"),
        variant=wildcards.variant,
        seed=int(wildcards.seed),
    )


def pictures_seen(wildcards):
    """The pictures, where the variant's training looks at them: a tuned backbone, or erased pixels."""
    varied = variant_config(config, wildcards.variant)
    mining = varied["losses"]["attention_mining"]
    erases = mining["weight"] and mining["erase"] == "image"
    return list(PICTURES.values()) if varied["train"]["tuned"]["backbone"] or erases else []


def results_of(variant):
    """The input function of a variant's target: its metrics, for every seed."""

    def metrics(wildcards):
        # To force a target that writes nothing would rerun nothing, so a variant's name stands for
        # its trainings. Input functions run before Snakemake decides what to run.
        if any(forced.name == variant for forced in workflow.dag.forcerules):
            workflow.dag.forcefiles.update(
                trained(variant, seed, "train/checkpoint.safetensors") for seed in SEEDS
            )
        return [trained(variant, seed, "metrics.parquet") for seed in SEEDS]

    return metrics


# Relative cost of a job: its seconds on two cores in the default study, halved where it keeps one
# core busy. The estimate of what is left follows from it and from the pace of the run.
COSTS = {
    "data": 15,
    "proposals": 55,
    "features": 100,
    "matcher": 70,
    "gradcam": 10,
    "train": 30,
    "predict": 10,
    "evaluate": 2,
    "baselines": 6,
    "ablation": 4,
    "report": 5,
    "tracking": 7,
}
logger.addHandler(Estimate(COSTS, logger.info))
