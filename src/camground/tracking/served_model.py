"""The code of the logged model (MLflow's models-from-code: this file is copied beside the weights)."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from camground.data.readers.inputs import has_word
from camground.study.errors import UserError

COLUMNS = ["x1", "y1", "x2", "y2", "score", "error"]
# The folder below which image_path may name a file of the server's; unset: none is opened.
IMAGES = "CAMGROUND_IMAGES"
log = logging.getLogger("camground")


@contextmanager
def as_file(picture: bytes | str) -> Iterator[Path]:
    """The file of a picture: a temporary one of its bytes, or one below the folder `IMAGES`. `UserError` for
    any other path, and, without a word of where the file lay, for what cannot be grounded in the block."""
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(picture, bytes):
            name, file = "image", Path(folder) / "image"
            file.write_bytes(picture)
        else:
            name, images = f"image_path {picture}", os.environ.get(IMAGES)
            if not images:
                advice = f"send the picture's bytes as image, or start the server with {IMAGES}=FOLDER"
                raise UserError(f"image_path: no file is opened here; {advice}")
            file = Path(images, picture).resolve()
            if not file.is_relative_to(Path(images).resolve()):
                raise UserError(f"{name}: outside the folder that is served")
        try:
            yield file
        except UserError as error:
            raise UserError(str(error).replace(str(file), name)) from None


def hide_stack_traces() -> None:
    """Keep this process's server from answering with them, as MLflow's does to a CSV that it cannot parse."""
    serialize: Any = MlflowException.serialize_as_json

    def without(error: Any) -> str:
        error.json_kwargs.pop("stack_trace", None)
        return str(serialize(error))

    MlflowException.serialize_as_json = without  # type: ignore[method-assign]


class GroundingModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined, misc]
    """Rows of (image, text) or (image_path, text) to rows of `COLUMNS`: box xyxy in pixels of the upright
    photograph, the probability that what the text means is in it; or, where there is no answer, null for
    these and in `error` why. image: the bytes of a picture's file."""

    def load_context(self, context: Any) -> None:
        """Load the model's folder once."""
        # by name, since this file runs where the model is served, above every room
        pipeline = importlib.import_module("camground.pipeline")
        self.ground = pipeline.GroundingPipeline.from_pretrained(context.artifacts["model"])
        if "mlflow.pyfunc.scoring_server" in sys.modules:
            hide_stack_traces()

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """As many rows as there are, in their order; one that cannot be answered leaves the others be. Raises
        nothing: a server would answer with what was raised."""
        texts = model_input["text"].tolist()
        answers: list[tuple[Any, ...]] = []
        of_picture: dict[bytes | str, list[int]] = {}
        missing = [None] * len(texts)
        given = (
            model_input[name].tolist() if name in model_input else missing for name in ("image", "image_path")
        )
        for row, (image, path) in enumerate(zip(*given, strict=True)):
            # missing values are None, NaN or NA
            picture = image if isinstance(image, bytes) and image else path
            error = None
            if not (isinstance(picture, bytes | str) and picture):
                error = "image: missing"
            elif not (isinstance(texts[row], str) and has_word(texts[row])):
                error = "text: missing, or without a word"
            else:
                of_picture.setdefault(picture, []).append(row)
            answers.append((*[None] * 5, error))
        for picture, rows in of_picture.items():
            try:
                with as_file(picture) as file:
                    found = self.ground(file, [texts[row] for row in rows])
            except Exception as problem:
                if not isinstance(problem, UserError):
                    log.exception("a picture cannot be answered")
                told = (
                    str(problem)
                    if isinstance(problem, UserError)
                    else "internal error; the server's log has it"
                )
                for row in rows:
                    answers[row] = (*[None] * 5, told)
                continue
            for row, answer in zip(rows, found, strict=True):
                answers[row] = (*answer["box"].values(), answer["score"], None)
        frame = pd.DataFrame(answers, columns=COLUMNS)
        if frame["error"].notna().any():
            # null: a server would write NaN, which is no JSON
            frame = frame.astype(object).where(frame.notna(), None)
        return frame


mlflow.models.set_model(GroundingModel())
