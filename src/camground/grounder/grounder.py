"""The grounder: CNN and transformer over the image, words of the language encoder, CAM encoder, and fusion.

`Grounder.forward` is the whole method: it sees the images and reads the texts through the matcher that it is
built on, scores each image with its text (`image_score`), draws its own Grad-CAM of that score, and looks
again, with the matcher's CAM, to score the candidates. The image score is computed in one way wherever it is
asked for: without the matcher's CAM, which was made for the very text and would give the answer away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.grounder.attention import Block, from_zero
from camground.grounder.cam_encoder import CamEncoder
from camground.grounder.config import GrounderConfig
from camground.grounder.fusion import Fusion
from camground.grounder.map_boxes import boxes_around
from camground.grounder.region_contrast import RegionContrast, standardised
from camground.grounder.regions import (
    Labels,
    Proposals,
    cell_features,
    geometry,
    inside_and_ring,
    map_features,
)
from camground.matcher.gated_map import gated
from camground.matcher.matcher import Matcher, Texts, smooth_max


@dataclass
class Images:
    """B images as tokens: the CNN's map (B, width, H, W), its proposals with their `inside_and_ring` on the
    map's grid and tokens (B, K, width), grid tokens (B, N, width), `Fusion.pairs` of the proposals, and their
    tokens (B, K, width) for `RegionContrast`."""

    map: Tensor
    proposals: Proposals
    weights: Tensor
    regions: Tensor
    grid: Tensor
    pairs: Tensor | None
    contrasted: Tensor | None = None

    def take(self, rows: Tensor) -> Images:
        """The images at these rows, in that order."""
        parts = (self.map, self.weights, self.regions, self.grid)
        visual, weights, regions, grid = (part[rows] for part in parts)
        pairs, contrasted = (None if each is None else each[rows] for each in (self.pairs, self.contrasted))
        return Images(visual, self.proposals.take(rows), weights, regions, grid, pairs, contrasted)


@dataclass
class ImageScore:
    """S(I, q) of P pairs: logits (P,), the proposals' scores (P, K) that it pools, logits, minus infinity
    for padding, and the similarity (P, H * W) of each cell, None with `regions_only`."""

    logit: Tensor
    proposal_scores: Tensor
    similarity: Tensor | None


@dataclass
class GroundingOutput:
    """What the forward pass gives for P pairs of image and text.

    scores (P, K + E): logits of the candidates, minus infinity where there is none. candidates: the image's
    K proposals, then E boxes around the own CAM; `regions` (P, K + E, width) are their tokens. image_score:
    see `ImageScore`. own_cam (P, H, W): the model's own Grad-CAM, at least 0, unscaled, or None where nothing
    reads it. images, texts: the tokens of the P pairs. stem (B, width, H, W): what the trunk's first layer
    makes of the B images. region_evidence (P, K + E): `RegionContrast.evidence`, None without that part.
    """

    scores: Tensor
    candidates: Proposals
    regions: Tensor
    image_score: ImageScore
    own_cam: Tensor | None
    images: Images
    texts: Texts
    stem: Tensor
    region_evidence: Tensor | None = None

    @property
    def choice(self) -> Tensor:
        """(P, K + E): what chooses a candidate and reads out its box, minus infinity where there is none.

        The scores; where there is region contrast, the standardised scores plus its evidence, so that the two
        weigh the same whatever the scale of the scores.
        """
        if self.region_evidence is None:
            return self.scores
        valid = self.candidates.valid
        chosen = standardised(self.scores, valid) + self.region_evidence
        return chosen.masked_fill(~valid, -torch.inf)

    @property
    def proposal_count(self) -> int:
        """K: of the candidates the first K are the image's proposals."""
        return self.images.proposals.boxes.shape[1]


class Grounder(nn.Module):
    """See the module's docstring. Row p of every argument belongs to pair p unless stated otherwise.

    It has no part that nothing reads or trains. own_map: whether what the own Grad-CAM says of a candidate
    counts in its score, for which a loss on the candidates' scores is needed. labels: whether there are any.
    region_contrast: whether there is a loss for it.
    """

    def __init__(
        self,
        matcher: Matcher,
        config: GrounderConfig,
        own_map: bool = True,
        labels: bool = False,
        region_contrast: bool = False,
    ) -> None:
        super().__init__()
        regions_only = config.regions_only
        width, dropout = matcher.config.width, matcher.config.dropout
        self.matcher, self.config = matcher, config
        self.region = nn.Linear(2 * width, width)
        self.geometry = nn.Sequential(nn.Linear(10, width), nn.GELU(), nn.Linear(width, width))
        sees_grid = config.transformer.enabled or config.fusion.enabled
        grid_position = torch.randn(config.transformer.grid**2, width) * 0.02
        self.grid_position = nn.Parameter(grid_position) if sees_grid else None
        self.blocks = nn.ModuleList(
            Block(width, config.transformer.heads, dropout, cross=False)
            for _ in range(config.transformer.layers if config.transformer.enabled else 0)
        )
        self.cam_encoder = (
            CamEncoder(config.cam_encoder, width, config.fusion.enabled)
            if config.cam_encoder.enabled
            else None
        )
        self.fusion = Fusion(config.fusion, width, dropout) if config.fusion.enabled else None
        # without the fusion module the CAM's features and the phrase meet in one product
        has_late_cam = self.cam_encoder is not None and self.fusion is None
        self.late_cam = nn.Linear(width, 1, bias=False) if has_late_cam else None
        self.cells = None
        if not regions_only:
            # starts as the teacher does, from how much more similar the cells inside are than those around
            self.cells = nn.Linear(4, 1, bias=False)
            with torch.no_grad():
                self.cells.weight.copy_(torch.tensor([[0.0, 0.0, 5.0, 1.0]]))
        self.own_map = nn.Linear(4, 1, bias=False) if own_map and not regions_only else None
        self.objectness_weight = nn.Parameter(torch.tensor(0.5))
        self.contrastive_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.region_scale = nn.Parameter(torch.tensor(math.log(5.0)))
        self.cell_scale = None if regions_only else nn.Parameter(torch.tensor(math.log(5.0)))
        self.image_bias = nn.Parameter(torch.tensor(-3.0))
        self.label_weight = self.label = None
        if labels and config.labels.enabled:
            # starts from what the language encoder knows, the cosine alone
            self.label_weight = nn.Parameter(torch.tensor(2.0))
            self.label = from_zero(nn.Linear(matcher.text.skip.in_features, width, bias=False))
        self.region_contrast = RegionContrast(width) if region_contrast else None

    def forward(
        self,
        features: Tensor,
        proposals: Proposals,
        tokens: Tensor,
        mask: Tensor,
        owner: Tensor,
        matcher_cam: Tensor | None = None,
        has_cam: Tensor | None = None,
        order: str = "none",
        map_boxes: Sequence[float] = (),
    ) -> GroundingOutput:
        """Ground P texts in B images.

        features (B, C, H, W) of the backbone and proposals of the images; tokens (P, T, text_width) of the
        language encoder and mask (P, T) bool; owner (P,) int64: the image of each text; matcher_cam
        (P, h, w) in [0, 1], None: withheld from all; has_cam (P,) bool: False withholds it from a pair.
        order: of `own_cam`; in training, "none" leaves it undrawn where nothing reads it. map_boxes: shares
        of the own CAM's maximum at which boxes around it join the candidates. Under `torch.no_grad` scores,
        image score and own CAM have no graph.
        """
        inference = not torch.is_grad_enabled()
        with torch.enable_grad():  # the own Grad-CAM is a gradient in inference too
            stem = self.matcher.trunk.stem(features)
            visual = self.matcher.trunk.after_stem(stem)[owner]
            if inference:
                visual = visual.detach().requires_grad_()
            images = self.see(visual, proposals.take(owner))
            texts = self.matcher.read(tokens, mask)
            image_score = self.image_score(images, texts)
            own_cam = None
            if inference or order != "none" or map_boxes or self.own_map is not None:
                own_cam = self.own_cam(image_score, images.map, order)
        if inference:
            similarity = image_score.similarity
            image_score = ImageScore(
                image_score.logit.detach(),
                image_score.proposal_scores.detach(),
                similarity.detach() if similarity is not None else None,
            )
            own_cam = own_cam.detach() if own_cam is not None else None
        if matcher_cam is None or self.cam_encoder is None:
            matcher_cam = has_cam = None
        else:
            has_cam = self._cam_dropout(matcher_cam, has_cam)
        candidates, extended = images.proposals, images
        if map_boxes and own_cam is not None:
            # of the own CAM alone, so that a model without the CAM encoder has candidates of the same kind
            candidates = candidates.extended(boxes_around(own_cam, map_boxes))
            extended = self.see(images.map, candidates)
        if extended is images and matcher_cam is None:
            scores = image_score.proposal_scores  # nothing new to see
        else:
            scores = self.score(extended, texts, image_score.similarity, matcher_cam, has_cam)
        if self.own_map is not None and own_cam is not None:
            # no loss on these scores shapes the map, so that a variant without attention mining differs
            # in the mining alone
            numbers = map_features(own_cam.detach(), candidates.boxes)
            scores = scores + self.own_map(numbers).squeeze(-1)
        evidence = None
        if self.region_contrast is not None and images.contrasted is not None:
            evidence = self.region_contrast.evidence(
                images.contrasted, images.proposals, texts, candidates.boxes
            ).detach()
        return GroundingOutput(
            scores, candidates, extended.regions, image_score, own_cam, images, texts, stem, evidence
        )

    def see(self, visual: Tensor, proposals: Proposals) -> Images:
        """The CNN's map (B, width, H, W) and the proposals of B images to tokens."""
        height, width = visual.shape[-2:]
        cells = visual.flatten(2).transpose(1, 2)  # (B, H * W, width)
        weights = inside_and_ring(proposals.boxes, (height, width))
        content, context = (weights @ cells).chunk(2, 1)  # (B, K, width)
        shape = torch.cat([geometry(proposals.boxes), proposals.objectness.unsqueeze(-1)], dim=-1)
        content = torch.cat([content, content - context], -1)
        regions = self.region(content) + self.geometry(shape)
        contrasted = None if self.region_contrast is None else self.region_contrast(content, shape)
        grid = regions[:, :0]  # where nothing looks at it
        if self.grid_position is not None:
            pooled = functional.adaptive_avg_pool2d(visual, self.config.transformer.grid)
            grid = pooled.flatten(2).transpose(1, 2) + self.grid_position
        if self.blocks:
            mask = torch.cat([proposals.valid, proposals.valid.new_ones(grid.shape[:2])], 1)
            tokens = torch.cat([regions, grid], 1)  # (B, K + N, width)
            for block in self.blocks:
                tokens = block(tokens, mask)
            regions, grid = tokens.split([regions.shape[1], grid.shape[1]], 1)
        pairs = None if self.fusion is None else self.fusion.pairs(proposals.boxes)
        return Images(visual, proposals, weights, regions, grid, pairs, contrasted)

    def image_score(self, images: Images, texts: Texts, similarity: Tensor | None = None) -> ImageScore:
        """S(I, q), without the matcher's CAM: the proposals' scores pooled, and a smooth maximum of the
        matcher's similarity over the grid's cells, (P, H * W), `similarity` where a caller has it already."""
        if similarity is None and not self.config.regions_only:
            similarity = self.matcher.similarity(images.map, texts)
        scores = self.score(images, texts, similarity)
        valid = images.proposals.valid
        pooled = scores.masked_fill(~valid, -1e4).logsumexp(-1) - valid.sum(-1).clamp(min=1).log()
        logit = torch.where(valid.any(-1), pooled, torch.zeros_like(pooled)) + self.image_bias
        if similarity is not None and self.cell_scale is not None:
            logit = logit + self.cell_scale.exp() * smooth_max(similarity, self.matcher.config.temperature)
        return ImageScore(logit, scores, similarity)

    def score_images(self, stem: Tensor, proposals: Proposals, texts: Texts) -> ImageScore:
        """`image_score` of row p of the stem's output (P, width, H, W), proposals and texts."""
        return self.image_score(self.see(self.matcher.trunk.after_stem(stem), proposals), texts)

    def own_cam(self, image_score: ImageScore, visual: Tensor, order: str = "exact") -> Tensor:
        """The model's own Grad-CAM (P, H, W), at least 0: relu(sum_k alpha_k F_k), alpha_k the mean of
        dS/dF_k (GAIN, Li et al. 2018, eq. 1 and 2), with `own_gate` kept to where the image score rests.

        The image score must have been computed from `visual` (P, width, H, W). `order`: "exact" keeps
        the graph through alpha (second order), "first" treats alpha as constant, "none" detaches all.
        """
        (gradient,) = torch.autograd.grad(
            image_score.logit.sum(), visual, create_graph=order == "exact", retain_graph=True
        )
        alpha = gradient.mean((2, 3), keepdim=True)
        if order == "none":
            visual = visual.detach()
        cam = torch.relu((alpha * visual).sum(1))
        if not self.config.own_gate or image_score.similarity is None:
            return cam
        shares = self.matcher.cell_shares(image_score.similarity.detach())
        return gated(cam, shares.unflatten(-1, cam.shape[-2:]))

    def score(
        self,
        images: Images,
        texts: Texts,
        similarity: Tensor | None,
        matcher_cam: Tensor | None = None,
        has_cam: Tensor | None = None,
    ) -> Tensor:
        """Scores (P, K) of the proposals, logits, minus infinity where there is none.

        similarity as of `ImageScore`; matcher_cam and has_cam as in `forward`.
        """
        proposals = images.proposals
        match = torch.einsum("pd,pkd->pk", texts.phrase, functional.normalize(images.regions, dim=-1))
        if self.label is not None and proposals.labels is not None:
            similarity_of_labels = self.label_similarity(texts, proposals.labels).unsqueeze(1)
            match = match + proposals.labels.evidence(proposals.boxes, similarity_of_labels).squeeze(1)
        scores = self.region_scale.exp() * match
        scores = scores + self.objectness_weight * proposals.objectness
        if self.cells is not None and similarity is not None:
            shares = self.matcher.cell_shares(similarity)
            numbers = cell_features(similarity, shares, proposals.boxes, images.weights)
            scores = scores + self.cells(numbers).squeeze(-1)
        cam_regions = cam_tokens = None
        if self.cam_encoder is not None:
            if matcher_cam is None or has_cam is None:
                cam_regions, cam_tokens = self.cam_encoder.withheld_from(len(scores))
            else:
                cam_regions, cam_scores, cam_tokens = self.cam_encoder(matcher_cam, has_cam, proposals.boxes)
                scores = scores + cam_scores
        if self.fusion is not None:
            scores = scores + self.fusion(
                images.regions,
                proposals,
                images.pairs,
                texts.phrase,
                texts.words,
                texts.mask,
                images.grid,
                cam_regions,
                cam_tokens,
            )
        elif self.late_cam is not None and cam_regions is not None:
            scores = scores + self.late_cam(cam_regions * texts.phrase.unsqueeze(1)).squeeze(-1)
        return scores.masked_fill(~proposals.valid, -torch.inf)

    def label_similarity(self, texts: Texts, labels: Labels) -> Tensor:
        """How well each of M texts fits each of the L labels, (M, L): the weighted cosine of the language
        encoder's vectors, and the product of the phrase with what is learnt of the label."""
        assert self.label is not None
        assert self.label_weight is not None
        learnt: Tensor = self.label(labels.vectors)
        return self.label_weight * (texts.vector @ labels.vectors.T) + texts.phrase @ learnt.T

    def all_similarities(self, images: Images, texts: Texts) -> Tensor | None:
        """The matcher's similarity (B, M, H * W) of each cell of every image with every text; None with
        `regions_only`."""
        return None if self.config.regions_only else self.matcher.all_similarities(images.map, texts)

    def contrastive_logits(self, images: Images, texts: Texts, cells: Tensor | None) -> Tensor:
        """Late scores (B, M), logits, of every image with every text, without the fusion: cheap enough for
        all pairs of a batch. cells: their `all_similarities`."""
        temperature = self.matcher.config.temperature
        regions = functional.normalize(images.regions, dim=-1)
        similarity = torch.einsum("md,bkd->bmk", texts.phrase, regions)
        proposals = images.proposals
        if self.label is not None and proposals.labels is not None:
            of_labels = self.label_similarity(texts, proposals.labels).expand(len(regions), -1, -1)
            similarity = similarity + proposals.labels.evidence(proposals.boxes, of_labels)
        pooled = smooth_max(similarity, temperature, proposals.valid.unsqueeze(1))
        if cells is not None:
            pooled = pooled + smooth_max(cells, temperature)
        return self.contrastive_scale.exp() * pooled

    def _cam_dropout(self, matcher_cam: Tensor, has_cam: Tensor | None) -> Tensor:
        """Which pairs see their CAM (P,) bool: in training a random share does not."""
        if has_cam is None:
            has_cam = torch.ones(len(matcher_cam), dtype=torch.bool, device=matcher_cam.device)
        if not self.training:
            return has_cam
        kept = torch.rand(len(has_cam), device=has_cam.device)
        return has_cam & (kept >= self.config.cam_encoder.dropout)
