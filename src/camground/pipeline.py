"""What a user calls: `GroundingPipeline.from_pretrained(folder)(photograph, phrases)` gives boxes.

The same networks as the stages, without tables or caches. A model folder holds the grounder's checkpoint, the
matcher's whose Grad-CAM it is shown, the calibration of its scores, and the config's sections that grounding
needs; the stage `tracking` makes it (`camground.grounder.model_folder`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import torch
from PIL.Image import Image, fromarray
from torch import Tensor

from camground.data.photographs import Source, download, is_address, name_of, read_photograph, to_square
from camground.data.readers.inputs import require_words
from camground.features.backbone import Backbone
from camground.features.language import LanguageEncoder, text_vectors
from camground.grounder import cam_control, model_folder
from camground.grounder.loading import load_grounder
from camground.grounder.model_folder import GROUNDER, MATCHER, SETTINGS, GroundingSettings, read_settings
from camground.grounder.presence import FILE, Calibration, read_calibration
from camground.grounder.read_out import read_out
from camground.grounder.regions import Labels, Proposals
from camground.matcher.cam import OwnNetworks, open_cam
from camground.matcher.cam_sources import SOURCES
from camground.matcher.matcher import load_matcher
from camground.proposals.proposer import propose_one_image
from camground.proposals.thinning import Proposals as Found
from camground.study.devices import find_device
from camground.study.errors import UserError

Photograph: TypeAlias = "str | Path | bytes | Image | np.ndarray"
Answers: TypeAlias = "list[dict[str, Any]]"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class GroundingPipeline:
    """A trained study, ready for photographs and phrases.

    A study whose Grad-CAM is a pretrained model's (`gradcam.source`), or whose proposals are a detector's,
    loads that model where the config names it: it is no part of the model folder.
    """

    def __init__(
        self, folder: Path, settings: GroundingSettings, calibration: Calibration, device: torch.device
    ) -> None:
        self.folder, self.settings, self.calibration, self.device = folder, settings, calibration, device
        self.trained = load_grounder(folder / GROUNDER, device)
        features = self.trained.features
        self.backbone = Backbone(features.backbone).to(device)
        self.language = LanguageEncoder(features.language).to(device)
        own = OwnNetworks(load_matcher(folder / MATCHER), self.language)
        self.cam = open_cam(settings.gradcam, device, own)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: str | torch.device = "cpu", revision: str | None = None
    ) -> GroundingPipeline:
        """From a model folder or, by its name owner/model and revision, from the hub; `UserError` where there
        is none, or no such device."""
        where = find_device(device)
        folder = model_folder.find_model(name, revision)
        return cls(folder, read_settings(folder), read_calibration(folder / FILE), where)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Copy the model, with its card, into a folder that `from_pretrained` opens; returns it."""
        return model_folder.copy_model(self.folder, Path(folder))

    def push_to_hub(self, name: str, private: bool | None = None, token: str | None = None) -> str:
        """Upload the model, with its card, as owner/model; returns the address of the commit.

        `UserError` where the hub refuses. private: None leaves it to the owner's settings.
        """
        from huggingface_hub import HfApi

        hub = HfApi(token=token)
        files = [str(file) for file in model_folder.files_of(self.folder)]
        try:
            hub.create_repo(name, private=private, exist_ok=True)
            commit = hub.upload_folder(
                repo_id=name, folder_path=self.folder, allow_patterns=files, commit_message="camground model"
            )
        except (OSError, ValueError) as error:  # the hub's errors are either
            raise UserError(
                f"{name}: cannot be uploaded ({model_folder.first_line(error)}); `hf auth login`?"
            ) from None
        return str(commit)

    @overload
    def __call__(
        self, image: Photograph, phrases: Sequence[str], cams: bool = False, candidates: bool = False
    ) -> Answers: ...

    @overload
    def __call__(
        self,
        image: list[Photograph],
        phrases: Sequence[Sequence[str]],
        cams: bool = False,
        candidates: bool = False,
    ) -> list[Answers]: ...

    def __call__(
        self,
        image: Photograph | list[Photograph],
        phrases: Sequence[str] | Sequence[Sequence[str]],
        cams: bool = False,
        candidates: bool = False,
    ) -> Answers | list[Answers]:
        """One dict per phrase, as transformers' detection pipelines give them.

        image: a file, the address of one (http, https), its bytes, a PIL image, or an array (H, W, 3) uint8
        RGB; or a list of such, with a list of phrases for each, and then a list of answers for each.

        `label`: the phrase; `score`: the probability that what it means is in the picture
        (`camground.grounder.presence`); `box`: xmin, ymin, xmax, ymax in pixels of the photograph, upright,
        the best there is however low the score. With `cams` also `own_cam` and `matcher_cam`, (h, w) float32
        in [0, 1], over the whole photograph; with `candidates` the boxes (K, 4) that were chosen among and
        their logits, best first, as `candidates` and `candidate_scores`.

        Raises `UserError` for what is no photograph or has no proposals, and for a phrase without a word.
        """
        if isinstance(image, list):
            if len(image) != len(phrases) or any(isinstance(each, str) for each in phrases):
                raise UserError(
                    f"{len(image)} images need as many lists of phrases, such as [['the red boat'], ...]"
                )
            pairs = zip(image, phrases, strict=True)
            return [self._ground(one, list(texts), cams, candidates) for one, texts in pairs]
        if isinstance(phrases, str):
            raise UserError(f"phrases: give a list, such as [{phrases!r}]")
        return self._ground(image, list(phrases), cams, candidates)  # type: ignore[arg-type]

    @torch.no_grad()
    def _ground(self, image: Photograph, texts: list[str], cams: bool, candidates: bool) -> Answers:
        require_words(texts)
        source = to_source(image)
        if not texts:
            return []
        # decoded once; a file is kept as it is for those that read it smaller
        rgb = read_photograph(source)
        found, size = self._propose(source, rgb.size)
        if not len(found.boxes_xyxy):
            raise UserError(f"{name_of(source)}: no proposals; set proposals.whole_image: true in {SETTINGS}")
        pixels = to_square(rgb, self.backbone.config.image_size).unsqueeze(0).to(self.device).float()
        features, (tokens, mask) = self.backbone(pixels), self.language(texts)
        owner = torch.zeros(len(texts), dtype=torch.long, device=self.device)
        model, matcher_cam, shown, has_cam = self.trained.model, None, None, None
        if model.cam_encoder is not None or cams:
            matcher_cam = self._matcher_cam(source, texts, features, owner)
        if model.cam_encoder is not None and matcher_cam is not None:
            has_cam = matcher_cam.flatten(1).amax(1) > 0
            shown = cam_control.shown_alone(model.cam_encoder.config.control, matcher_cam)
        tuned = self.trained.tuned
        if tuned is not None:
            # the matcher reads the frozen features, the grounder those it was trained with
            if tuned.backbone is not None:
                features = tuned.backbone(pixels)
            if tuned.language is not None:
                tokens, mask = tuned.language(texts)
        boxes = torch.from_numpy((found.boxes_xyxy / np.tile(size, 2)).astype(np.float32)).unsqueeze(0)
        objectness = torch.from_numpy(found.objectness.astype(np.float32)).unsqueeze(0)
        labels = self._labels(boxes, objectness, found.labels)
        valid = torch.ones(objectness.shape, dtype=torch.bool)
        labelled = torch.tensor([[label is not None for label in found.labels]])
        proposals = Proposals(boxes, objectness, valid, labels, labelled).to(self.device)
        predict = self.settings.predict
        output = model(
            *(features, proposals, tokens, mask, owner, shown, has_cam), map_boxes=predict.map_boxes
        )
        chosen = read_out(predict.voting, output.candidates, output.choice, output.proposal_count)
        in_pixels = (chosen.cpu().numpy() * np.tile(size, 2)).tolist()
        probability = self.calibration.probability(output.image_score.logit).tolist()
        answers: Answers = [
            {"score": score, "label": text, "box": dict(zip(CORNERS, box, strict=True))}
            for text, score, box in zip(texts, probability, in_pixels, strict=True)
        ]
        if cams and output.own_cam is not None and matcher_cam is not None:
            peak = output.own_cam.amax((1, 2), keepdim=True).clamp(min=1e-9)
            maps = zip(answers, (output.own_cam / peak).cpu().numpy(), matcher_cam.cpu().numpy(), strict=True)
            for answer, own, matcher in maps:
                answer |= {"own_cam": own, "matcher_cam": matcher}
        if candidates:
            order = output.choice.argsort(-1, descending=True).cpu()
            for answer, rows, scores, drawn in zip(
                answers, order, output.choice.cpu(), output.candidates.boxes.cpu(), strict=True
            ):
                answer["candidates"] = (drawn[rows].numpy() * np.tile(size, 2)).astype(np.float32)
                answer["candidate_scores"] = scores[rows].numpy()
        return answers

    def _matcher_cam(self, source: Source, texts: list[str], features: Tensor, owner: Tensor) -> Tensor:
        """The CAM (M, h, w) of each text, of the study's matcher or of its pretrained model."""
        if SOURCES[self.settings.gradcam.source].reads == "photographs":
            features = self.cam.read(source).unsqueeze(0)
        return torch.from_numpy(self.cam(features, owner, texts)).to(self.device)

    def _labels(self, boxes: Tensor, objectness: Tensor, labels: list[str | None]) -> Labels | None:
        """What a detector says of the boxes (1, K, 4), for a model that has learnt with labels."""
        names = sorted({label for label in labels if label is not None})
        if self.trained.model.label is None or not names:
            return None
        tuned = self.trained.tuned
        language = self.language if tuned is None or tuned.language is None else tuned.language
        index = torch.tensor([[-1 if label is None else names.index(label) for label in labels]])
        return Labels.of(boxes, objectness, index, text_vectors(*language(names)).cpu())

    def _propose(self, source: Source, size: tuple[int, int]) -> tuple[Found, np.ndarray]:
        """What is found in the photograph, and its width and height."""
        return propose_one_image(self.settings.proposals, source, size), np.array(size, dtype=np.float64)


def to_source(image: Photograph) -> Source:
    """What `camground.data.photographs` reads of a photograph of any kind; `UserError` for another thing."""
    if isinstance(image, str) and is_address(image):
        return download(image)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise UserError(
                f"an array of shape {image.shape} and type {image.dtype} is no photograph; give one of shape"
                " (height, width, 3) and type uint8, RGB from 0 to 255"
            )
        return fromarray(image)
    if isinstance(image, str | Path | bytes | Image):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    raise UserError(
        f"a {type(image).__name__} is no photograph; give a file, its address, its bytes, a PIL image or an"
        " array"
    )
