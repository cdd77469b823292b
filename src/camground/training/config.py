"""Config sections `losses` and `train`: what the grounder is trained on, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from camground.study.optimiser import OptimiserConfig
from camground.study.section import Section

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class DistillationConfig(Section):
    """Distillation of a matcher's CAM into the proposals' scores, with the CAM shown and without: what the
    teacher's scores are of."""

    weight: Weight = 1.0
    """Of the loss; 0: off."""
    maps: Literal["next_seed", "own"] = "next_seed"
    """Whose maps the teacher is made of: those of the next seed's matcher, the first's after the last, or of
    the training's own seed, which the CAM encoder is shown: a model that sees its teacher's map copies it."""
    contrast: Weight = 0.5
    """Of the map's mean inside a proposal less its mean in the ring around it, which prefers parts where the
    map is peaked and is the surer where it is broad."""
    ranking: Weight = 0.0
    """Of the sum of the map inside / sqrt(area)."""
    box: Weight = 1.0
    """Of the mean IoU with boxes around the map at `thresholds`."""
    thresholds: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.2, 0.3, 0.4, 0.5, 0.6)
    """Shares of the map's maximum that these boxes are drawn around: which one fits differs by map."""
    objectness: Weight = 0.5
    """Of the proposal's objectness."""
    label: Weight = 0.0
    """Of what a detector's labels say of a proposal: score x cosine of phrase and label x squared IoU, summed
    over the labelled boxes."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Of the teacher's softmax."""

    def seed_of_maps(self, seed: int, seeds: Sequence[int]) -> int:
        """Whose maps teach the training of `seed` in a study of `seeds`; a further seed's are the first's."""
        if self.maps == "own":
            return seed
        following = seeds.index(seed) + 1 if seed in seeds else 0
        return seeds[following % len(seeds)]


class AttentionMiningConfig(Section):
    """Attention mining (GAIN, Li et al. 2018): little is to score once the own Grad-CAM is erased."""

    weight: Weight = 0.5
    """Of the loss; 0: off."""
    order: Literal["exact", "first"] = "exact"
    """exact: the gradient flows through the Grad-CAM's channel weights too (second order); first: these are
    constants to it."""
    scorer: Literal["frozen", "live"] = "frozen"
    """frozen: the erased pass gives no gradient to the parameters but through the mask; live: it does."""
    erase: Literal["feature", "image"] = "feature"
    """What the mask erases: the backbone's grid, or pixels, which runs the backbone in the loop."""
    omega: Annotated[float, Field(gt=0)] = 10.0
    """Steepness of the soft mask; 100 leaves no gradient."""
    sigma: Share = 0.4
    """Threshold of the soft mask, a share of the map's maximum."""
    warmup: Annotated[float, Field(ge=0)] = 1.0
    """Epochs until mining reaches its weight."""
    every: Annotated[int, Field(ge=1)] = 2
    """Mine at every n-th step with n times the weight: a step with a second derivative costs twice one
    without."""
    size_weight: Weight = 1.0
    """Of the penalty on masks that cover more than `size_limit`."""
    size_limit: Share = 0.3
    """Share of the image that a mask may cover without penalty."""
    keep_weight: Weight = 0.0
    """Of the term that what the mask keeps must score as the whole image does."""


class LossesConfig(Section):
    """The grounder's losses, each with its weight."""

    contrastive: Weight = 1.0
    """InfoNCE of all images of a batch with all texts."""
    matching: Weight = 1.0
    """Own pairs against hard negatives through the fusion: other pairs, and swaps false of the image."""
    matching_swaps: bool = True
    """Whether swaps are negatives of the contrastive and the matching loss."""
    swap_ranking: Weight = 1.0
    """The proposal that an expression means scores higher by it than by its swap."""
    region_contrast: Weight = 0.0
    """Phrases against the images of a batch by their proposals alone (RefCLIP, Jin et al. 2023); with it the
    grounder has a second expert, whose word joins its scores where the box is read out."""
    exclusion: Weight = 0.0
    """Two phrases of one caption do not share a box; needs train.optimiser.per_image of 2 or more."""
    reconstruction: Weight = 0.0
    """The expression is reconstructed from the proposals that it attends to (ARN, Liu et al. 2019)."""
    distillation: DistillationConfig = DistillationConfig()
    """Distillation of a matcher's CAM."""
    attention_mining: AttentionMiningConfig = AttentionMiningConfig()
    """Attention mining on the own Grad-CAM."""

    @property
    def of_candidates(self) -> bool:
        """Whether a loss trains the candidates' scores with the CAM shown. The others are of the image score,
        from which the CAM is withheld."""
        return bool(self.distillation.weight or self.reconstruction)

    @property
    def of_scores(self) -> bool:
        """Whether a loss trains the proposals' scores, and with them the fusion and what cells count."""
        return bool(self.of_candidates or self.matching or self.swap_ranking)


class TunedConfig(Section):
    """How much of the backbone and of the language encoder trains along with the grounder.

    The matcher and its Grad-CAM stay on the frozen ones."""

    backbone: Annotated[int, Field(ge=0)] = 0
    """Stages of the backbone, from the last; 0: frozen, features from the cache."""
    language: Annotated[int, Field(ge=0)] = 0
    """Layers of the language encoder, from the last; 0: frozen."""
    rate: Annotated[float, Field(gt=0)] = 0.1
    """Their learning rate, as a share of the grounder's."""


class TuningOptimiserConfig(OptimiserConfig):
    """How the backbone and the matcher that is trained with it learn."""

    epochs: Annotated[int, Field(ge=1)] = 5
    """Passes over the training images, at most."""
    per_image: Annotated[int, Field(ge=1)] = 2
    """Expressions of each image in a batch, at most."""


class TuningConfig(Section):
    """The backbone's last stages, trained on the study's pairs before features are cached: with a matcher as
    of `matcher`, which is then thrown away, and the study's first seed."""

    stages: Annotated[int, Field(ge=0)] = 0
    """Stages of the backbone, from the last, that train; 0: none, and there is no such stage."""
    rate: Annotated[float, Field(gt=0)] = 0.3
    """Their learning rate, as a share of the matcher's."""
    optimiser: TuningOptimiserConfig = TuningOptimiserConfig()
    """How they are trained."""


class GrounderOptimiserConfig(OptimiserConfig):
    """How the grounder is trained."""

    epochs: Annotated[int, Field(ge=1)] = 6
    """Passes over the training images, at most."""
    batch_size: Annotated[int, Field(ge=2)] = 16
    """Images in a batch."""
    images_per_epoch: Annotated[int, Field(ge=2)] | None = 800
    """An epoch ends after so many images, drawn anew each time; null: all of them."""


class TrainConfig(Section):
    """Training of the grounder, which starts from the matcher."""

    tuned: TunedConfig = TunedConfig()
    """How much of the frozen networks trains too."""
    optimiser: GrounderOptimiserConfig = GrounderOptimiserConfig()
    """How it is trained."""
