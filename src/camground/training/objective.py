"""The grounder's objective: contrastive matching, matching by the image score, distillation of the CAM,
reconstruction and attention mining, each with its weight."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from camground.grounder.batches import GroundingBatch
from camground.grounder.grounder import Grounder, GroundingOutput, Images
from camground.matcher.matcher import Texts
from camground.training.attention_mining import AttentionMining, EraseImage
from camground.training.config import LossesConfig
from camground.training.contrastive import info_nce, positives, recall_at_1
from camground.training.distillation import distillation, teacher
from camground.training.exclusion import exclusion, unlike
from camground.training.matching import matching
from camground.training.reconstruction import Reconstruction


class Objective(nn.Module):
    """All losses of one batch; the grounder and whatever else the losses need are its modules.

    `forward(batch, step, epoch)`, step from 0 and epochs done as of `training.loop.fit`, returns named
    scalars, the sum as "loss". It keeps no state between steps.
    """

    def __init__(
        self, grounder: Grounder, config: LossesConfig, erase_image: EraseImage | None = None
    ) -> None:
        super().__init__()
        self.grounder, self.config = grounder, config
        for parameter in unreached(grounder, config):
            parameter.requires_grad_(False)
        text = grounder.matcher.text.skip
        self.reconstruction = (
            Reconstruction(text.out_features, text.in_features) if config.reconstruction else None
        )
        self.mining = AttentionMining(grounder, config.attention_mining, erase_image)

    def forward(self, batch: GroundingBatch, step: int, epoch: float) -> dict[str, Tensor]:
        mining_weight = self.mining.weight(step, epoch)
        order = self.config.attention_mining.order if mining_weight else "none"
        output = self.grounder(*batch.inputs, order)
        values = self.without_mining(batch, output)
        if mining_weight:
            values |= self.mining(batch, output)
            values["loss"] = values["loss"] + mining_weight * values["mining_sum"]
        return values

    def without_mining(self, batch: GroundingBatch, output: GroundingOutput) -> dict[str, Tensor]:
        """All terms but that of attention mining, of what the grounder gives for the batch."""
        config = self.config
        images = _one_row_per_image(output.images, batch.owner, len(batch.features))
        swaps, texts = batch.swaps, output.texts
        if swaps is not None:
            texts = Texts.join(texts, self.grounder.matcher.read(swaps.tokens, swaps.mask))
        cells = self.grounder.all_similarities(images, texts)
        logits = self.grounder.contrastive_logits(images, texts, cells).float()
        logits, swap_logits = logits.tensor_split([len(batch.owner)], 1)
        positive = positives(batch.owner, batch.text_ids, len(batch.features))
        swap_negative = self._swap_negatives(batch)
        values = {"contrastive": info_nce(logits, positive, swap_logits, swap_negative)}
        values["recall@1"] = recall_at_1(logits, positive)
        loss = config.contrastive * values["contrastive"]
        if config.matching or config.swap_ranking:
            values["matching"], values["swap_ranking"] = matching(
                self.grounder,
                images,
                texts,
                batch.owner,
                output.image_score,
                logits,
                positive,
                cells,
                swaps,
                config.matching_swaps,
            )
            loss = loss + config.matching * values["matching"]
            loss = loss + config.swap_ranking * values["swap_ranking"]
        valid = output.candidates.valid
        if config.distillation.weight:
            target = teacher(
                config.distillation,
                batch.teacher_cam,
                batch.cam_boxes,
                output.candidates,
                output.texts.vector,
            )
            # Without the CAM too, so that it adds to a model that grounds by itself.
            plain = output.image_score.proposal_scores
            values["distillation"] = 0.5 * (
                distillation(output.scores, target, valid, batch.taught)
                + distillation(plain, target, valid, batch.taught)
            )
            loss = loss + config.distillation.weight * values["distillation"]
        if config.exclusion:
            apart = batch.side_by_side & unlike(output.texts.vector)
            shown, plain = (
                exclusion(scores, output.candidates.boxes, valid, apart)
                for scores in (output.scores, output.image_score.proposal_scores)
            )
            values["exclusion"] = 0.5 * (shown + plain)
            loss = loss + config.exclusion * values["exclusion"]
        expert = self.grounder.region_contrast
        if expert is not None and images.contrasted is not None:
            temperature = self.grounder.matcher.config.temperature
            of_regions = expert.logits(images.contrasted, images.proposals.valid, output.texts, temperature)
            values["region_contrast"] = info_nce(of_regions.float(), positive)
            loss = loss + config.region_contrast * values["region_contrast"]
        if self.reconstruction is not None:
            values["reconstruction"] = self.reconstruction(
                output.scores, output.regions, valid, output.texts.vector, batch.text_ids
            )
            loss = loss + config.reconstruction * values["reconstruction"]
        return {"loss": loss, **values}

    def _swap_negatives(self, batch: GroundingBatch) -> Tensor | None:
        """Where the swaps are negatives, (B, S) bool; None where they are none."""
        swaps = batch.swaps
        if swaps is None or not self.config.matching_swaps:
            return None
        owner = batch.owner[swaps.expression]
        other = owner.unsqueeze(0) != torch.arange(len(batch.features), device=owner.device).unsqueeze(1)
        return other | swaps.false.unsqueeze(0)


def unreached(grounder: Grounder, config: LossesConfig) -> Iterator[nn.Parameter]:
    """The grounder's parameters that no loss of the config reaches: they stay as they start.

    Only scales and the like may start without training; of other parts the config's check says that nothing
    trains them.
    """
    yield grounder.matcher.scale  # of the matcher's own scores
    if grounder.config.regions_only and grounder.matcher.relations is not None:
        yield from grounder.matcher.relations.parameters()
    if not config.contrastive:
        yield grounder.contrastive_scale
    mining = config.attention_mining
    if not (config.matching or (mining.weight and mining.scorer == "live")):
        yield grounder.image_bias
    if not (config.of_scores or mining.weight):
        yield from (grounder.region_scale, grounder.objectness_weight)


def _one_row_per_image(pairs: Images, owner: Tensor, count: int) -> Images:
    """The images of pairs, each of which has at least one, from their first pairs."""
    if len(owner) == count:
        return pairs  # one text per image, in the images' order
    first = (owner.unsqueeze(0) == torch.arange(count, device=owner.device).unsqueeze(1)).float()
    return pairs.take(first.argmax(1))
