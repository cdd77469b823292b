"""The config's section `proposals`: how candidate boxes are found, and how many are kept."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from camground.proposals.methods import FILLER, METHODS, MethodName
from camground.study.section import FilePath, NameOrPath, Section

Share = Annotated[float, Field(ge=0, le=1)]


class DetectorConfig(Section):
    """An object detector of transformers, for method detector; its categories are the boxes' labels.

    A detector has learnt from boxes, so the study is no longer free of them. What those named here have
    learnt from, as their authors say (look up any other's before you compare):

    - DETR and RT-DETR of the hub, trained on COCO 2017: all of train2014 with its boxes, and so every
      photograph that RefCOCO, RefCOCO+ and RefCOCOg evaluate. The field's detected protocol (MAttNet's boxes,
      RefCLIP, QueryMatch) trains its detectors without the val and test photographs of these sets.
    - OWL-ViT: boxes of public detection sets. OWLv2: web pictures with boxes that a detector drew; its
      fine-tuned ones LVIS too, whose photographs are COCO's. An upper reference.
    - Grounding DINO tiny: Objects365, GoldG (Flickr30k Entities' boxed phrases among it) and captions; base:
      COCO and RefCOCO's boxed expressions too. An upper reference, and no weak supervision.
    """

    model: NameOrPath | None = None
    """Name on the hub, or folder."""
    queries: Annotated[tuple[Annotated[str, Field(pattern=r"\S")], ...], Field(min_length=1)] | None = None
    """Phrases that an open-vocabulary detector (OWL-ViT, OWLv2, Grounding DINO) looks for, such as [person,
    animal, vehicle]; null: things of any kind, which OWLv2 alone of these can find. DETR and the like take
    none."""
    score: Share = 0.05
    """Weaker detections are left out."""
    batch_size: Annotated[int, Field(ge=1)] = 8
    """Photographs in a batch."""


class BoxesFileConfig(Section):
    """A file of detections in COCO's format, for method boxes_file.

    MAttNet's detector has not seen the val and test photographs of RefCOCO, RefCOCO+ and RefCOCOg.
    """

    path: FilePath | None = None
    """JSON: [{image_id, bbox: [x, y, width, height], score}, ...] as COCO's results, or such a list under
    dets (MAttNet's detections), annotations or detections. image_id is the number that the photograph's file
    name ends with, or its file name; a file with its own `images` (id, file_name) is matched by file name.
    A box's label is the entry's category_name or category, or the name that the file's `categories` (id,
    name) give its category_id; an entry without these has none."""
    max_rejected_share: Share = 0.01
    """More bad entries, or images without one, stop the run."""


class ProposalsConfig(Section):
    """Candidate boxes."""

    method: MethodName = "selective_search"
    """selective_search; detector, a published one; or boxes_file, boxes found elsewhere. To choose among true
    boxes is a protocol of the evaluation: evaluate.proposals."""
    count: Annotated[int, Field(ge=1)] = 24
    """Proposals kept per image, the whole image among them."""
    input_size: Annotated[int, Field(ge=32)] = 128
    """Longest side in pixels of what selective search sees; smaller photographs are not enlarged."""
    min_size: Share = 0.02
    """Smallest side of a proposal, as a share of the image's."""
    nms_iou: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Of two proposals that overlap more than this, the better ranked is kept."""
    fill_up: bool = False
    """Fill up to `count` with the boxes of selective search, after the method's own, which may be few."""
    whole_image: bool = True
    """Keep the whole image as one proposal; where nothing else is found it is kept anyway."""
    detector: DetectorConfig = DetectorConfig()
    """Of method detector."""
    boxes_file: BoxesFileConfig = BoxesFileConfig()
    """Of method boxes_file."""

    @model_validator(mode="after")
    def _method_has_what_it_needs(self) -> Self:
        for key, advice in METHODS[self.method].required:
            if getattr(getattr(self, self.method), key) is None:
                raise ValueError(f"method is {self.method}, so set {self.method}.{key}: {advice}")
        return self

    @property
    def methods(self) -> tuple[str, ...]:
        """The method, and after it the one that fills up."""
        return tuple(dict.fromkeys([self.method, FILLER] if self.fill_up else [self.method]))

    @property
    def user_files(self) -> dict[str, str]:
        """The files that the method reads from outside of the study, by the dotted key that names each."""
        method = METHODS[self.method]
        own = getattr(self, self.method, None)
        return {f"proposals.{self.method}.{key}": getattr(own, key) for key in method.user_files}
