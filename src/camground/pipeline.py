"""Ground phrases in any photograph with a trained study: from file and text to box.

    python -m camground.grounding results/scenes/model photo.png "the red boat" --drawn out.png

The same networks as the stages, without tables or caches. The stage `tracking` makes the model's folder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from PIL import ImageDraw

from camground.bundle import GROUNDER, MATCHER, SETTINGS
from camground.data.photographs import open_photograph, read_photograph, read_square
from camground.features.backbone import Backbone
from camground.features.language import LanguageEncoder
from camground.features.tuned import LiveFeatures, split, trained_features
from camground.grounder import cam_control
from camground.grounder.batch_grounding import ground_batch
from camground.grounder.batches import Loaded
from camground.grounder.box_voting import vote
from camground.grounder.grounder import Grounder, GrounderConfig
from camground.grounder.own_boxes import boxes_around
from camground.grounder.regions import Proposals
from camground.matcher.gradcam import MatcherCam
from camground.matcher.matcher import Matcher
from camground.matcher.pretrained import open_pretrained
from camground.matcher.pretrained_cam import PretrainedCam
from camground.stages.features import FeaturesConfig
from camground.stages.gradcam import GradcamConfig
from camground.stages.matcher import MatcherStageConfig
from camground.stages.predict import PredictConfig
from camground.study import stage
from camground.study.errors import UserError
from camground.study.sections import parse
from camground.training.loop import load_checkpoint

if TYPE_CHECKING:
    from camground.proposals.detectors import Detector


class Grounding:
    """A grounder with everything that it needs, ready for photographs and phrases.

    A study whose Grad-CAM is a pretrained model's (`gradcam.source`), or whose proposals are a detector's,
    loads that model where the config names it: it is no part of the bundle.
    """

    pretrained: PretrainedCam | None = None
    detector: Detector | None = None
    trained: LiveFeatures | None = None

    def __init__(
        self, grounder_folder: Path, matcher_folder: Path, settings: dict[str, Any]
    ) -> None:
        saved, state = load_checkpoint(grounder_folder)
        features = parse(FeaturesConfig, saved["features"])
        self.backbone = Backbone(features.backbone)
        self.language = LanguageEncoder(features.language)
        channels, width = self.backbone.channels, self.language.width
        self.grounder = Grounder(parse(GrounderConfig, saved["model"]), channels, width)
        self.grounder.load_state_dict(split(state)[0])
        self.trained = trained_features(saved, state)
        self.grounder.eval()
        matcher_saved, matcher_state = load_checkpoint(matcher_folder)
        matcher_config = parse(MatcherStageConfig, matcher_saved["matcher"])
        self.matcher = Matcher(matcher_config.model, channels, width)
        self.matcher.load_state_dict(matcher_state)
        self.matcher.eval()
        self.gradcam = parse(GradcamConfig, settings["gradcam"])
        if self.gradcam.source != "matcher":
            self.pretrained = open_pretrained(self.gradcam, torch.device("cpu"))
        self.proposals = settings["proposals"]
        self.voting = parse(PredictConfig, settings["predict"]).voting
        self.threshold = float(saved["losses"]["distillation"]["threshold"])

    @classmethod
    def load(cls, folder: str | Path) -> Grounding:
        """From a folder that `camground.bundle` made."""
        folder = Path(folder)
        try:
            settings = json.loads((folder / SETTINGS).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise UserError(
                f"{folder}: not a folder that the stage `tracking` made ({error})"
            ) from None
        return cls(folder / GROUNDER, folder / MATCHER, settings)

    def ground(self, image_path: str | Path, texts: list[str]) -> pd.DataFrame:
        """One row a text: x1, y1, x2, y2 in pixels of the photograph, and the score, a logit."""
        boxes, objectness, size = self._propose(Path(image_path))
        pixels = read_square(image_path, self.backbone.config.image_size).unsqueeze(0).float()
        with torch.no_grad():
            visual = self.backbone(pixels)
            tokens, mask = self.language(texts)
        owner = torch.zeros(len(texts), dtype=torch.long)
        if self.pretrained is not None:
            picture = self.pretrained.picture(image_path)
            cams = self.pretrained(picture.unsqueeze(0), owner, texts)
        else:
            with MatcherCam(self.matcher, self.gradcam.method, self.gradcam.layer) as matcher_cam:
                cams = matcher_cam(visual, owner, tokens, mask)
        if self.trained is not None:
            # the matcher reads the frozen features, the grounder those it was trained with
            with torch.no_grad():
                if self.trained.backbone is not None:
                    visual = self.trained.backbone(pixels)
                if self.trained.language is not None:
                    tokens, mask = self.trained.language(texts)
        proposals = Proposals(
            torch.from_numpy((boxes / np.tile(size, 2)).astype(np.float32)).unsqueeze(0),
            torch.from_numpy(objectness.astype(np.float32)).unsqueeze(0),
            torch.ones(1, len(boxes), dtype=torch.bool),
        )
        own = torch.from_numpy(cams)
        encoder = self.grounder.cam_encoder
        control = "none" if encoder is None else encoder.config.control
        batch = Loaded(
            features=visual,
            proposals=proposals,
            tokens=tokens,
            tokens_mask=mask,
            owner=owner,
            text_ids=torch.arange(len(texts)),
            cam=own,
            shown_cam=cam_control.shown_alone(control, own),
            cam_known=torch.ones(len(texts), dtype=torch.bool),
            cam_box=boxes_around(own, [self.threshold])[:, 0],
            image_rows=np.zeros(1, dtype=int),
            swapped=torch.zeros(len(texts), dtype=torch.bool),
            swap_tokens=tokens[:0],
            swap_mask=mask[:0],
            swap_false=torch.zeros(0, dtype=torch.bool),
        )
        looked = ground_batch(self.grounder, batch)
        voted = vote(self.voting, looked.proposals, looked.scores, len(boxes))
        found = voted.numpy() * np.tile(size, 2)
        best = looked.scores.amax(-1)
        rows = np.concatenate([found, best.numpy()[:, None]], 1)
        return pd.DataFrame(rows.astype(float), columns=["x1", "y1", "x2", "y2", "score"])

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """`ground` for rows of (image_path, text), one box a row in the order of the rows."""
        missing = {"image_path", "text"} - set(frame.columns)
        if missing:
            raise UserError(f"the input lacks the columns {sorted(missing)}")
        numbered = frame.reset_index(drop=True)
        parts = []
        for path, rows in numbered.groupby("image_path", sort=False):
            found = self.ground(str(path), rows["text"].astype(str).tolist())
            parts.append(found.set_index(rows.index))
        return pd.concat(parts).sort_index()

    def _propose(self, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (K, 4) xyxy in pixels, objectness (K,), and the photograph's width and height."""
        from camground.proposals.settings import read

        settings = read({"proposals": self.proposals})
        with open_photograph(path) as picture:
            size = picture.size
        if settings.method == "boxes_file":
            raise UserError(
                f"{path}: the study chose among boxes of a file (proposals.method boxes_file), which has none"
                " of a new photograph; in grounding.json of the model's folder set proposals.method to"
                " detector and name the detector that found them, or to selective_search"
            )
        if settings.detector is not None:
            from camground.proposals.detection import propose_one
            from camground.proposals.detectors import open_detector
            from camground.proposals.workers import Picture

            if self.detector is None:
                self.detector = open_detector(settings.detector, torch.device("cpu"))
            found = propose_one(Picture(path, size), self.detector, settings)
        else:
            from camground.data.photographs import read_reduced
            from camground.proposals.selective_search import propose

            found = propose(read_reduced(path, settings.input_size, size), settings, size)
        return found.boxes_xyxy, found.objectness, np.array(size, dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m camground.grounding", description=__doc__)
    parser.add_argument("model", type=Path, help="folder that the stage `tracking` made")
    parser.add_argument("image", type=Path)
    parser.add_argument("text", nargs="+", help="phrases to ground")
    parser.add_argument("--drawn", type=Path, help="write the photograph with the boxes here")
    given = parser.parse_args()
    found = Grounding.load(given.model).ground(given.image, given.text)
    found.insert(0, "text", given.text)
    print(found.round(2).to_csv(index=False), end="")
    if given.drawn:
        canvas = read_photograph(given.image)
        pen = ImageDraw.Draw(canvas)
        boxes = found[["x1", "y1", "x2", "y2"]].to_numpy().tolist()
        for text, (x1, y1, x2, y2) in zip(given.text, boxes, strict=True):
            pen.rectangle((x1, y1, x2 - 1, y2 - 1), outline=(220, 40, 40), width=2)
            pen.text((x1 + 3, y1 + 1), text, fill=(220, 40, 40))
        canvas.save(given.drawn)


if __name__ == "__main__":
    stage.run("grounding", main)
