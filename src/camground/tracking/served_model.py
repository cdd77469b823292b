"""The code of the logged model (MLflow's models-from-code: this file is copied beside the weights)."""

from __future__ import annotations

import importlib
from typing import Any

import mlflow
import pandas as pd


class GroundingModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined, misc]
    """Rows of (image_path, text) to rows of (x1, y1, x2, y2, score); box xyxy in the image's pixels."""

    def load_context(self, context: Any) -> None:
        """Load the model's folder once."""
        # by name, since this file runs where the model is served, above every room
        pipeline = importlib.import_module("camground.pipeline")
        self.ground = pipeline.GroundingPipeline.from_pretrained(context.artifacts["model"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One box per row, in the order of the rows."""
        answers: dict[Any, tuple[float, ...]] = {}
        rows = model_input.reset_index(drop=True)
        for path, of_image in rows.groupby("image_path", sort=False):
            for row, answer in zip(of_image.index, self.ground(path, of_image["text"].tolist()), strict=True):
                answers[row] = (*answer["box"].values(), answer["score"])
        columns = ["x1", "y1", "x2", "y2", "score"]
        return pd.DataFrame([answers[row] for row in rows.index], columns=columns)


mlflow.models.set_model(GroundingModel())
