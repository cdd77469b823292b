"""Config section `tracking`: the MLflow store."""

from __future__ import annotations

from camground.study.section import Section


class TrackingConfig(Section):
    """Where the study's runs are kept, and what is kept beside their numbers."""

    uri: str | None = None
    """Address of the MLflow store, such as sqlite:///~/runs.db; null is mlflow.db in results_dir. The
    environment variable MLFLOW_TRACKING_URI wins over it."""
    experiment: str | None = None
    """Name of the experiment; null is dataset-protocol, such as scenes-detected."""
    log_model: bool = True
    """Log the headline model, the ablation's reference with the best score on val captions, for serving."""
