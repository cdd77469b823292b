"""The code of the logged model (MLflow's models-from-code: this file is copied beside the weights)."""

from __future__ import annotations

import importlib
from typing import Any

import mlflow
import pandas as pd

from camground.data.readers.inputs import has_word
from camground.study.errors import UserError

COLUMNS = ["x1", "y1", "x2", "y2", "score", "error"]


class GroundingModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined, misc]
    """Rows of (image_path, text) to rows of `COLUMNS`: box xyxy in pixels of the upright photograph, its
    score; or, where there is no answer, null for these and in `error` why."""

    def load_context(self, context: Any) -> None:
        """Load the model's folder once."""
        # by name, since this file runs where the model is served, above every room
        pipeline = importlib.import_module("camground.pipeline")
        self.ground = pipeline.GroundingPipeline.from_pretrained(context.artifacts["model"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """As many rows as there are, in their order; one that cannot be answered leaves the others be."""
        texts = model_input["text"].tolist()
        answers: list[tuple[Any, ...]] = []
        of_path: dict[str, list[int]] = {}
        for row, path in enumerate(model_input["image_path"].tolist()):
            error = None
            # missing values are None, NaN or NA
            if not (isinstance(path, str) and path):
                error = "image_path: missing"
            elif not (isinstance(texts[row], str) and has_word(texts[row])):
                error = "text: missing, or without a word"
            else:
                of_path.setdefault(path, []).append(row)
            answers.append((*[None] * 5, error))
        for path, rows in of_path.items():
            try:
                found = self.ground(path, [texts[row] for row in rows])
            except UserError as problem:
                for row in rows:
                    answers[row] = (*[None] * 5, str(problem))
                continue
            for row, answer in zip(rows, found, strict=True):
                answers[row] = (*answer["box"].values(), answer["score"], None)
        frame = pd.DataFrame(answers, columns=COLUMNS)
        if frame["error"].notna().any():
            # null: a server would write NaN, which is no JSON
            frame = frame.astype(object).where(frame.notna(), None)
        return frame


mlflow.models.set_model(GroundingModel())
