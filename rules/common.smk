"""What all rules share; no rule is defined here.

Purpose: check the config before any job, clear the lock of a run that was killed, name the study's files,
cut out each stage's part of the config, list each stage's code, and say how long the run will still take.
Inputs: the config.
Outputs: none.
"""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# The checkout's own package, so that the code that is listed as input is the code that is read.
SOURCE = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent / "src"
if SOURCE.is_dir():
    sys.path.insert(0, str(SOURCE))
    os.environ.update(PYTHONPATH=str(SOURCE))
# As a module of github(...) the rules come without it: the installed one.
if not (PACKAGE := importlib.util.find_spec("camground")):
    raise WorkflowError("install the package camground of the tag that the rules are of: docs/how-to.md")
PACKAGE = Path(PACKAGE.origin).parent
# Jobs run under the Python that runs Snakemake, its environment activated or not. (`--sdm conda`
# activates its own environment later and so wins.)
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    # threads that wait for work sleep: spinning ones starve the jobs beside them
    OMP_WAIT_POLICY="PASSIVE",
)

from camground.evaluation.baselines import BASELINES
from camground.stages.config import StudyConfig
from camground.study.code_closure import code_files
from camground.study.errors import UserError
from camground.study.estimate import Estimate
from camground.study.layers import layers, merged
from camground.study.run_lock import hold_run_lock

# A run that was killed goes on with the same command. Jobs read this file too, while the run holds its lock.
if workflow.exec_mode == workflow.exec_mode.DEFAULT:
    hold_run_lock(Path(".snakemake"))


def checked(read, *arguments):
    """What `read` makes of them; a mistake in the user's files ends the run in one line."""
    try:
        return read(*arguments)
    except UserError as error:
        raise WorkflowError(str(error))


# Over config.yaml; Snakemake then lays what the command line gives over both again. The `config:` of a module is
# laid over them here.
if workflow.modifier.skip_configfile:
    config = checked(merged, config)
else:
    for layer in checked(layers, config):

        configfile: layer


STUDY = checked(StudyConfig.parse, config)
DATASET, SEEDS, VARIANTS = STUDY.dataset, STUDY.seeds, STUDY.variant_names
METHODS_SHOWN = {
    "variants": VARIANTS,
    "methods": STUDY.to_dict()["methods"],
    "baselines": STUDY.baseline_names,
}


def keys(section, *others):
    """The dotted keys of a section but for `others`, of which an edit changes nothing."""
    fields = type(getattr(STUDY, section)).model_fields
    return [f"{section}.{key}" for key in fields if key not in others]


# More than a machine has are cut to its cores. Only for jobs whose bytes do not depend on it.
ALL_CORES = 16
# One job at a time on a graphics card; without a card a job claims none and they run side by side.
GPU = int(shutil.which("nvidia-smi") is not None)


wildcard_constraints:
    variant="|".join(STUDY.variants),
    method="|".join(STUDY.methods) or "none",
    seed=r"\d+",


def study(path):
    """A file of this study."""
    return f"{STUDY.results_dir}/{DATASET}/{path}"


# What jobs that look at pixels need beside the images table.
PICTURES = {"pictures": study("data/pictures")} if STUDY.data.chosen.makes_pictures else {}


def code(stage, *modules):
    """The files that `camground <stage>` runs, so that an edit reruns the stage.

    `modules`: those that the config chooses, as `camground.proposals.detector:DetectorProposer`.
    """
    names = [f"camground.stages.{stage}", *(module.partition(":")[0] for module in modules)]
    here = Path.cwd()
    files = {file for name in names for file in code_files(name, PACKAGE)}
    return sorted(str(f.relative_to(here) if f.is_relative_to(here) else f) for f in files)


def trained(variant, seed, file):
    """A file of one training's folder."""
    return study(f"{variant}/seed{seed}/{file}")


def all_trained(*files):
    """Those files of every training of the study."""
    return [trained(variant, seed, file) for file in files for variant in VARIANTS for seed in SEEDS]


def all_baselines(file):
    """That file of every baseline; one that no seed changes runs with the first alone."""
    seeds = {name: BASELINES[name].seeds(SEEDS) for name in STUDY.baseline_names}
    return [trained(name, seed, file) for name in seeds for seed in seeds[name]]


def all_methods(*files):
    """Those files of every training, every baseline and somebody else's boxes."""
    foreign = [trained(name, SEEDS[0], file) for name in STUDY.methods for file in files]
    return foreign + [path for file in files for path in all_trained(file) + all_baselines(file)]


def prompted(wildcards):
    """Whether the method is a detector that is prompted, not a file of boxes."""
    return STUDY.methods[wildcards.method].detector is not None


def method_files(wildcards):
    """The file of somebody else's boxes, or the pictures that a detector looks at."""
    return list(PICTURES.values()) if prompted(wildcards) else STUDY.methods[wildcards.method].boxes


def source_tables():
    """The files that name a data set's photographs; those themselves are too many to list.

    Files that are not there are left out: the stage says which are missing, and what to do.
    """
    root = Path(STUDY.data_root or "")
    files = [root / file for file in STUDY.data.chosen.source_files()]
    return [str(file) for file in files if file.exists()]


def train_config(wildcards):
    """The sections of the variant's config that training reads."""
    return STUDY.part(
        **STUDY.variant(wildcards.variant).to_dict(),
        variant=wildcards.variant,
        seed=int(wildcards.seed),
    )


def features_config(wildcards, input):
    """The section `features`, with the tuned backbone where there is one."""
    if not STUDY.tuning.stages:
        return STUDY.part("features")
    backbone = STUDY.features.backbone.to_dict() | {"weights": input.backbone}
    return STUDY.part(features=STUDY.features.to_dict() | {"backbone": backbone})


def teacher_cams(wildcards):
    """The maps that the variant's teacher is made of."""
    distillation = STUDY.variant(wildcards.variant).losses.distillation
    return expand(CAMS, seed=distillation.seed_of_maps(int(wildcards.seed), SEEDS))


def pictures_seen(wildcards):
    """The pictures, where the variant's training looks at them: a tuned backbone, or erased pixels."""
    variant = STUDY.variant(wildcards.variant)
    mining = variant.losses.attention_mining
    erases = mining.weight and mining.erase == "image"
    return list(PICTURES.values()) if variant.train.tuned.backbone or erases else []


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


def store_is_whole(wildcards):
    """No file; a store that lacks what was written to it has the stage `tracking` run again."""
    written = study("tracking.json")
    if Path(written).exists():
        # Brings pandas, and each job of a cluster reads this file twice.
        from camground.tracking.store import find_store, is_whole

        if not is_whole(Path(written), find_store(STUDY.results_dir, STUDY.tracking.uri)):
            workflow.dag.forcefiles.add(written)
    return []


# Relative cost of a job: its seconds on two cores in the default study, halved where it keeps one
# core busy. The estimate of what is left follows from it and from the pace of the run.
COSTS = {
    "data": 15,
    "proposals": 55,
    "tuning": 600,
    "features": 100,
    "matcher": 120,
    "gradcam": 10,
    "train": 30,
    "predict": 10,
    "evaluate": 2,
    "methods": 1,
    "evaluate_method": 2,
    "baselines": 8,
    "ablation": 4,
    "report": 5,
    "tracking": 7,
}
logger.addHandler(Estimate(COSTS, logger.info))
