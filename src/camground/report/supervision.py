"""What entered as supervision: what the models of a study have learnt from, stated from its config.

The one place that states it. What a pretrained model has seen is what its authors say; docs/datasets.md has
more of that.
"""

from __future__ import annotations

from collections.abc import Mapping

from camground.data.config import DataConfig
from camground.evaluation.config import EvaluateConfig, MethodConfig
from camground.features.config import PACKAGED_BACKBONE, PACKAGED_LANGUAGE, TIMM, FeaturesConfig
from camground.grounder.config import GrounderConfig
from camground.matcher.config import GradcamConfig, MatcherConfig
from camground.proposals.config import ProposalsConfig
from camground.study.section import Section
from camground.training.config import LossesConfig, TrainConfig, TuningConfig

FILE = "supervision.json"  # in a study's results
PRETRAINED = {
    "blip": "BLIP has read captions of photographs of COCO or Flickr30k, some of those evaluated here among"
    " them; no boxes.",
    "clip": "CLIP has seen pictures of the web with their texts, no boxes; which pictures is not known.",
    "siglip": "SigLIP has seen pictures of the web with their texts, no boxes; which pictures is not known.",
}


class SupervisionConfig(Section):
    """What of a study's config decides what its models learn from; grounder, losses and train
    are a variant's."""

    data: DataConfig = DataConfig()
    proposals: ProposalsConfig = ProposalsConfig()
    tuning: TuningConfig = TuningConfig()
    features: FeaturesConfig = FeaturesConfig()
    matcher: MatcherConfig = MatcherConfig()
    gradcam: GradcamConfig = GradcamConfig()
    grounder: GrounderConfig = GrounderConfig()
    losses: LossesConfig = LossesConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


def of_others(methods: Mapping[str, MethodConfig], coverage: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Sentences on somebody else's boxes, as those say who brought them; coverage: by method, how many of the
    evaluated expressions it answers, and how many there are."""
    sentences = {}
    for name, method in methods.items():
        answered, asked = coverage[name]
        prompted = f"{method.detector}, prompted with each expression. " if method.detector else ""
        sentence = f"{prompted}{method.supervision.rstrip('.')}."
        if answered < asked:
            sentence += f" It answers {answered:,} of {asked:,} expressions; the others count as wrong."
        sentences[f"Boxes of {name}"] = sentence
    return sentences


def untrained(config: SupervisionConfig, has_maps: bool) -> dict[str, str]:
    """The sentences of a study that trains nothing."""
    teacher = {"Grad-CAM": _teacher(config)} if has_maps else {}
    return {
        "Training": "None: nothing of this study has learnt from its data.",
        "Proposals": _proposals(config.proposals),
        **teacher,
        "Boxes of the evaluated splits": _evaluated(config.evaluate),
    }


def supervision(config: SupervisionConfig, val_boxes: int, labels: int) -> dict[str, str]:
    """Sentences by what they are about, in a reader's order; val_boxes: expressions of val with a box;
    labels: how many different ones the proposals have."""
    return {
        "Images and sentences": _pairs(config),
        "Sentences known to be false": _false_sentences(config),
        "Proposals": _proposals(config.proposals) + _labels(config, labels),
        "Image network": _image_network(config),
        "Text network": _text_network(config),
        "Teacher": _teacher(config),
        "Boxes of val": _val(config, val_boxes),
        "Boxes of the evaluated splits": _evaluated(config.evaluate),
    }


def _pairs(config: SupervisionConfig) -> str:
    data, folder = config.data, config.data.folder
    splitter = "word lists" if folder.spacy_model is None else f"the spaCy pipeline {folder.spacy_model}"
    own = {
        "scenes": "Drawn scenes, with phrases that the program writes which draws them: each means one object"
        " alone, and which it is, is not told.",
        "folder": f"Photographs, with the captions of {folder.captions} cut into noun phrases by {splitter}.",
        "refer": "Photographs, with expressions that people wrote who were shown the object; which it is, is"
        " not told.",
        "flickr30k": "Photographs, with captions whose noun phrases the data set's annotators marked.",
    }[data.kind]
    return f"{own} No box or mask of the training images."


def _false_sentences(config: SupervisionConfig) -> str:
    losses = config.losses
    readers = {
        "the matcher": bool(config.matcher.swaps),
        "the grounder's contrast and matching": losses.matching_swaps
        and bool(losses.contrastive or losses.matching),
        "the grounder's ranking of proposals": bool(losses.swap_ranking),
    }
    who = [name for name, reads in readers.items() if reads]
    if config.data.kind != "scenes" or not config.data.scenes.swaps_per_expression or not who:
        return "None."
    listed = f"{', '.join(who[:-1])} and {who[-1]}" if len(who) > 1 else who[0]
    return (
        "Phrases with one word changed, which do not mean their object any more. Whether one is false of the"
        " whole image the scene's own facts decide, boxes among them; that they are false is all that is"
        f" passed on, as false_of_image in the table expressions. Read by {listed}."
    )


def _proposals(config: ProposalsConfig) -> str:
    own = {
        "selective_search": "Selective search. The objectness that ranks its boxes, and that the scores use,"
        " was fitted on pictures drawn for that purpose with their exact boxes; no box of the data set has a"
        " part in it.",
        "detector": f"The detector {config.detector.model}, which has learnt from boxes: this study is not"
        " free of them. Whether it has seen the photographs that are evaluated, its authors must say.",
        "boxes_file": f"Boxes that another program found ({config.boxes_file.path}). What it has learnt from,"
        " boxes of the evaluated photographs or not, its authors must say.",
    }.get(config.method, f"{config.method}.")
    if len(config.methods) == 1:
        return own
    return (
        f"{own} Where these are few, selective search's boxes follow, whose objectness was fitted on pictures"
        " drawn for that purpose."
    )


def _labels(config: SupervisionConfig, labels: int) -> str:
    readers = {
        "the grounder's scores": config.grounder.labels.enabled,
        "the teacher": bool(config.losses.distillation.weight and config.losses.distillation.label),
    }
    who = [name for name, reads in readers.items() if reads]
    if not labels or not who:
        return ""
    return (
        f" With the boxes came the names of {labels} categories, which the text network reads for"
        f" {' and '.join(who)}: somebody named what the detector was taught to find."
    )


def _image_network(config: SupervisionConfig) -> str:
    network, tuned = config.features.backbone, config.train.tuned.backbone
    if network.name == PACKAGED_BACKBONE:
        learnt = f"{network.name}, trained on the labels of ImageNet's whole images; no boxes."
    elif network.name.startswith(TIMM) and network.checkpoint is None:
        learnt = f"{network.name} with random weights."
    else:
        learnt = f"{network.name}, pretrained on what its authors say."
    if stages := config.tuning.stages:
        learnt += f" Its last {stages} stages were trained on the pairs before anything else."
    return f"{learnt} Its last {tuned} stages train along on the pairs." if tuned else learnt


def _text_network(config: SupervisionConfig) -> str:
    name, tuned = config.features.language.name, config.train.tuned.language
    if name == PACKAGED_LANGUAGE:
        learnt = "MiniLM, which has read captions of COCO and Flickr30k among other text; no photographs."
    else:
        learnt = f"{name}, pretrained on what its authors say."
    return f"{learnt} Its last {tuned} layers train along on the pairs." if tuned else learnt


def _teacher(config: SupervisionConfig) -> str:
    source = config.gradcam.source
    own = "The Grad-CAM of the study's own matcher, trained on the same pairs."
    pretrained = f"The Grad-CAM of {config.gradcam.model}. {PRETRAINED.get(source, '')}".strip()
    return own if source == "matcher" else pretrained


def _val(config: SupervisionConfig, boxes: int) -> str:
    where = "scenes" if config.data.kind == "scenes" else "photographs of Flickr30k Entities"
    own = f"{boxes:,} expressions of val have a box here." if boxes else "Val has no boxes here."
    return (
        "The epoch is chosen on captions of val, without boxes. Settings were chosen by people who looked at"
        f" boxes of val {where}: the read-out (predict.voting), the thresholds of maps"
        " (gradcam.box_threshold, predict.map_boxes), the gate (gradcam.method), the teacher's weights"
        f" (losses.distillation) and the thinning of proposals (proposals.nms_iou). {own}"
    )


def _evaluated(config: EvaluateConfig) -> str:
    splits = ", ".join(config.splits)
    if config.proposals == "ground_truth":
        return (
            f"Of {splits}: every method chooses among the true boxes of the image's objects, so its accuracy"
            " is not that of finding boxes. Training and the choice of the epoch see detected ones."
        )
    return f"Of {splits}: read by the evaluation alone."
