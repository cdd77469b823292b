"""What a user calls: `GroundingPipeline.from_pretrained(folder)(photograph, phrases)` gives boxes.

The same networks as the stages, without tables or caches. A model folder holds the grounder's checkpoint, the
matcher's whose Grad-CAM it is shown, and the config's sections that grounding needs; the stage `tracking`
makes it (`camground.grounder.model_folder`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camground.data.photographs import photograph_size, read_square
from camground.features.backbone import Backbone
from camground.features.language import LanguageEncoder
from camground.grounder import cam_control
from camground.grounder.loading import load_grounder
from camground.grounder.model_folder import GROUNDER, MATCHER, SETTINGS, GroundingSettings, read_settings
from camground.grounder.read_out import read_out
from camground.grounder.regions import Proposals
from camground.matcher.cam import OwnNetworks, open_cam
from camground.matcher.cam_sources import SOURCES
from camground.matcher.matcher import load_matcher
from camground.proposals.proposer import propose_one_image
from camground.study.errors import UserError


class GroundingPipeline:
    """A trained study, ready for photographs and phrases.

    A study whose Grad-CAM is a pretrained model's (`gradcam.source`), or whose proposals are a detector's,
    loads that model where the config names it: it is no part of the model folder.
    """

    def __init__(self, folder: Path, settings: GroundingSettings, device: torch.device) -> None:
        self.settings, self.device = settings, device
        self.trained = load_grounder(folder / GROUNDER, device)
        features = self.trained.features
        self.backbone = Backbone(features.backbone).to(device)
        self.language = LanguageEncoder(features.language).to(device)
        own = OwnNetworks(load_matcher(folder / MATCHER), self.language)
        self.cam = open_cam(settings.gradcam, device, own)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> GroundingPipeline:
        """From a model folder; `UserError` when it is none."""
        return cls(Path(folder), read_settings(Path(folder)), torch.device(device))

    @torch.no_grad()
    def __call__(self, photograph: str | Path, texts: Sequence[str]) -> list[dict[str, Any]]:
        """One dict per text, as transformers' detection pipelines give them.

        `label`: the text; `score`: that of the chosen candidate, a logit; `box`: xmin, ymin, xmax, ymax in
        pixels of the upright photograph. Raises `UserError` for a file that is no photograph or has no
        proposals.
        """
        if not texts:
            return []
        boxes, objectness, size = self._propose(Path(photograph))
        if not len(boxes):
            raise UserError(f"{photograph}: no proposals; set proposals.whole_image: true in {SETTINGS}")
        pixels = read_square(photograph, self.backbone.config.image_size).unsqueeze(0)
        pixels = pixels.to(self.device).float()
        features, (tokens, mask) = self.backbone(pixels), self.language(list(texts))
        owner = torch.zeros(len(texts), dtype=torch.long, device=self.device)
        model, matcher_cam, has_cam = self.trained.model, None, None
        if model.cam_encoder is not None:
            matcher_cam = self._matcher_cam(photograph, texts, features, owner)
            has_cam = matcher_cam.flatten(1).amax(1) > 0
            matcher_cam = cam_control.shown_alone(model.cam_encoder.config.control, matcher_cam)
        tuned = self.trained.tuned
        if tuned is not None:
            # the matcher reads the frozen features, the grounder those it was trained with
            if tuned.backbone is not None:
                features = tuned.backbone(pixels)
            if tuned.language is not None:
                tokens, mask = tuned.language(list(texts))
        proposals = Proposals(
            torch.from_numpy((boxes / np.tile(size, 2)).astype(np.float32)).unsqueeze(0),
            torch.from_numpy(objectness.astype(np.float32)).unsqueeze(0),
            torch.ones(1, len(boxes), dtype=torch.bool),
        ).to(self.device)
        predict = self.settings.predict
        output = model(
            *(features, proposals, tokens, mask, owner, matcher_cam, has_cam), map_boxes=predict.map_boxes
        )
        chosen = read_out(predict.voting, output.candidates, output.scores, output.proposal_count)
        in_pixels = (chosen.cpu().numpy() * np.tile(size, 2)).tolist()
        names = ("xmin", "ymin", "xmax", "ymax")
        return [
            {"score": score, "label": text, "box": dict(zip(names, box, strict=True))}
            for text, score, box in zip(texts, output.scores.amax(-1).tolist(), in_pixels, strict=True)
        ]

    def _matcher_cam(
        self, photograph: str | Path, texts: Sequence[str], features: Tensor, owner: Tensor
    ) -> Tensor:
        """The CAM (M, h, w) of each text, of the study's matcher or of its pretrained model."""
        if SOURCES[self.settings.gradcam.source].reads == "photographs":
            features = self.cam.read(photograph).unsqueeze(0)
        return torch.from_numpy(self.cam(features, owner, list(texts))).to(self.device)

    def _propose(self, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (K, 4) xyxy in pixels, objectness (K,), and the photograph's width and height."""
        proposals = propose_one_image(self.settings.proposals, path)
        return proposals.boxes_xyxy, proposals.objectness, np.array(photograph_size(path), dtype=np.float64)
