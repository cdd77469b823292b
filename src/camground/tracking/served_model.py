"""The code of the logged model (MLflow's models-from-code: this file is copied beside the weights)."""

from __future__ import annotations

from typing import Any

import mlflow
import pandas as pd


class GroundingModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined, misc]
    """Rows of (image_path, text) to rows of (x1, y1, x2, y2, score); box xyxy in the image's pixels."""

    def load_context(self, context: Any) -> None:
        """Load the model's folder once."""
        from camground.pipeline import GroundingPipeline

        self.grounding = GroundingPipeline.from_pretrained(context.artifacts["model"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One box per row, in the order of the rows."""
        return self.grounding.predict(model_input)


mlflow.models.set_model(GroundingModel())
