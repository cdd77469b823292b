"""Stage `tracking`: the study in MLflow; and the tool `ui`, which serves MLflow's pages on it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from camground.evaluation.config import AblationConfig, EvaluateConfig, MethodConfig
from camground.grounder.config import PredictConfig
from camground.matcher.config import GradcamConfig
from camground.proposals.config import ProposalsConfig
from camground.stages.command import ConfigText, OutputFile, ResultsFolder, read_config
from camground.study.section import Section
from camground.tracking.config import TrackingConfig


class TrackingInput(Section):
    dataset: str
    seeds: tuple[int, ...]
    variants: tuple[str, ...]
    methods: dict[str, MethodConfig] = Field(default={})
    baselines: tuple[str, ...]
    tracking: TrackingConfig
    ablation: AblationConfig
    evaluate: EvaluateConfig
    proposals: ProposalsConfig
    gradcam: GradcamConfig
    predict: PredictConfig


def tracking(
    config: ConfigText,
    root: ResultsFolder,
    output: OutputFile,
    report: Annotated[list[Path] | None, typer.Option(help="HTML report to keep.")] = None,
) -> None:
    """Bring the MLflow store in line with a study's files, as its only writer.

    Runs that are unchanged stay; one whose files changed supersedes the old one.
    """
    import json

    from camground.grounder.model_folder import GroundingSettings
    from camground.study import tables
    from camground.tracking.ingest import ingest
    from camground.tracking.records import Study
    from camground.tracking.store import find_store

    options = read_config(config, TrackingInput)
    names = options.seeds, options.variants, options.baselines, options.ablation.reference
    candidates = options.evaluate.proposals_file.removesuffix(".parquet")
    methods = {name: method.supervision for name, method in options.methods.items()}
    study = Study(root, options.dataset, *names, candidates, methods, options.ablation.split)
    settings = GroundingSettings(
        proposals=options.proposals, gradcam=options.gradcam, predict=options.predict
    )
    store = find_store(root.parent, options.tracking.uri)
    written = ingest(study, options.tracking, options.evaluate, settings, store, report or [])
    with tables.atomic(output) as temporary:
        temporary.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")


def ui(
    results: Annotated[Path, typer.Option(help="Folder of the store.")] = Path("results"),
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 5000,
    live: Annotated[bool, typer.Option(help="Show the curves of trainings that are running.")] = True,
    browser: Annotated[
        bool, typer.Option(help="Open the training runs in a browser, where there is one.")
    ] = True,
) -> None:
    """Serve MLflow's pages on the results, until Ctrl-C; prints and opens the link to each study's runs."""
    from camground.tracking.live import follow
    from camground.tracking.pages import serve

    serve(results, host, port, browser, partial(follow, results) if live else None)
