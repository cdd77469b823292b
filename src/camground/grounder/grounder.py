"""The grounder: a CNN and a transformer see, MiniLM reads, the CAM encoder points, fusion decides.

Top to bottom: `see` turns backbone features and proposals into tokens, `read` turns tokens of text into
words and a phrase vector, `match` compares all images of a batch with all texts without the fusion
(late, cheap: the contrastive score), and `ground` scores the proposals of (image, text) pairs through
the fusion module. `own_cam` is the model's own Grad-CAM of its image score; `rescore` lets the proposals'
scores depend on it, so that a better map can help.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.grounder.attention import Block
from camground.grounder.cam_encoder import CamEncoder, CamEncoderConfig
from camground.grounder.fusion import Fusion, FusionConfig
from camground.grounder.reconstruction import ReconstructionDecoder
from camground.grounder.regions import Proposals, geometry, inside_and_ring, map_features
from camground.grounder.seen_and_read import Grounded, Read, Seen
from camground.matcher.gated_map import gated
from camground.matcher.relation_kernel import RelationKernel
from camground.matcher.trunk import VisualTrunk
from camground.matcher.words import TextProjection


@dataclass(frozen=True)
class TransformerConfig:
    """Transformer encoder over the proposals' tokens and a `grid` x `grid` pooling of the map."""

    enabled: bool = True
    layers: int = 1
    heads: int = 4
    grid: int = 8


@dataclass(frozen=True)
class GrounderConfig:
    """`width`: channels of every token. `blocks`: convolutions of the trunk. `temperature`: of the
    smooth maxima over cells and proposals in the late score. `ring`: side of the context around a
    proposal, in sides of the proposal. `own_map`: proposals are scored on the model's own Grad-CAM too.
    `own_gate`: that Grad-CAM is kept to where the dense score rests (`model.gated_map`); needs `dense`.
    `map_boxes`: thresholds, shares of the maximum, at which boxes around that Grad-CAM and the one shown are
    proposals of the expression beside those of the image (`model.own_boxes`).
    `dense`: the late score and the image score look at the map's cells beside the proposals.
    `relation_kernel`: heads of the matcher's relations on those cells (`model.relation_kernel`); 0: none.
    `subject`: proposals are compared with the words of the subject, else with the whole phrase, which is
    what a contrastive loss alone trains. `reconstruction`: a decoder for the loss of that name.
    """

    width: int = 128
    blocks: int = 1
    dropout: float = 0.1
    temperature: float = 0.1
    ring: float = 1.5
    own_map: bool = True
    own_gate: bool = False
    map_boxes: list[float] = field(default_factory=list)
    dense: bool = True
    relation_kernel: int = 0
    subject: bool = True
    reconstruction: bool = False
    cam_encoder: CamEncoderConfig = field(default_factory=CamEncoderConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)


class Grounder(nn.Module):
    """See the module's docstring. All pairs-wise methods take P rows: row p of each input belongs to
    pair p."""

    def __init__(self, config: GrounderConfig, visual_channels: int, text_width: int) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.trunk = VisualTrunk(visual_channels, width, config.blocks, config.dropout)
        self.region = nn.Linear(2 * width, width)
        self.geometry = nn.Sequential(nn.Linear(10, width), nn.GELU(), nn.Linear(width, width))
        self.place = nn.Parameter(torch.randn(config.transformer.grid**2, width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(width, config.transformer.heads, config.dropout, cross=False)
            for _ in range(config.transformer.layers if config.transformer.enabled else 0)
        )
        self.text = TextProjection(text_width, width, config.dropout)
        self.subject = nn.Linear(width, 1)
        heads = config.relation_kernel if config.dense else 0
        self.kernel = RelationKernel(width, heads) if heads else None
        self.cam_encoder = (
            CamEncoder(config.cam_encoder, width, config.ring)
            if config.cam_encoder.enabled
            else None
        )
        self.fusion = (
            Fusion(config.fusion, width, config.dropout) if config.fusion.enabled else None
        )
        # without the fusion module the CAM's features and the phrase meet in one product
        self.late_cam = (
            nn.Linear(width, 1) if self.cam_encoder is not None and self.fusion is None else None
        )
        self.own_map = nn.Linear(4, 1) if config.own_map else None
        self.prior = nn.Parameter(torch.tensor(0.5))
        self.late_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.region_scale = nn.Parameter(torch.tensor(math.log(5.0)))
        self.dense_scale = nn.Parameter(torch.tensor(math.log(5.0)))
        self.image_bias = nn.Parameter(torch.tensor(-3.0))
        # last, so that the other layers begin alike with and without it
        self.decoder = ReconstructionDecoder(width, text_width) if config.reconstruction else None

    def see(self, features: Tensor, proposals: Proposals) -> Seen:
        """Backbone features (B, C, H, W) and proposals of B images to tokens."""
        return self.see_map(self.trunk(features), proposals)

    def see_map(self, visual: Tensor, proposals: Proposals) -> Seen:
        """`see` from the trunk's map F (B, width, H, W)."""
        height, width = visual.shape[-2:]
        cells = visual.flatten(2).transpose(1, 2)
        inside, around = inside_and_ring(proposals.boxes, (height, width), self.config.ring)
        content = inside @ cells
        context = around @ cells
        shape = torch.cat([geometry(proposals.boxes), proposals.objectness.unsqueeze(-1)], dim=-1)
        regions = self.region(torch.cat([content, content - context], -1)) + self.geometry(shape)
        side = self.config.transformer.grid
        grid = functional.adaptive_avg_pool2d(visual, side).flatten(2).transpose(1, 2) + self.place
        if self.blocks:
            seen = torch.ones(grid.shape[:2], dtype=torch.bool, device=grid.device)
            mask = torch.cat([proposals.valid, seen], 1)
            tokens = torch.cat([regions, grid], 1)
            for block in self.blocks:
                tokens = block(tokens, mask)
            regions, grid = tokens.split([regions.shape[1], grid.shape[1]], 1)
        offsets = self.kernel.basis(height, width) if self.kernel is not None else None
        return Seen(visual, regions, grid, proposals, offsets)

    def read(self, tokens: Tensor, mask: Tensor) -> Read:
        """Frozen token vectors (M, T, text_width) and mask (M, T) to words and phrase vectors."""
        words, weights = self.text(tokens, mask)
        phrase = functional.normalize((weights.unsqueeze(-1) * words).sum(1), dim=-1)
        if not self.config.subject:
            return Read(phrase, phrase, words, mask)
        # the contrastive score is about the whole image, landmarks included; a proposal is the subject's
        named = self.subject(words).squeeze(-1).masked_fill(~mask, -torch.inf).softmax(-1)
        subject = functional.normalize((named.unsqueeze(-1) * words).sum(1), dim=-1)
        return Read(phrase, subject, words, mask)

    def _dense(self, seen: Seen, read: Read) -> Tensor:
        """Similarities (P, N) of each cell with its pair's text."""
        if self.kernel is None:
            return torch.einsum("pd,pdn->pn", read.subject, self._unit_map(seen))
        # the whole phrase: this is the matcher's own score, whose weights of the words it starts from
        dense = torch.einsum("pd,pdn->pn", read.phrase, self._unit_map(seen))
        related = self.kernel.read(read.words, read.mask)
        cells = seen.map / math.sqrt(self.config.width)
        return dense + self.kernel.paired(cells, *related, seen.offsets)

    def match(self, seen: Seen, read: Read) -> Tensor:
        """Late scores (B, M), logits, of B images with M texts: the contrastive score."""
        regional = torch.einsum("md,bkd->bmk", read.phrase, self._unit_regions(seen))
        pooled = self._smooth_max(regional, seen.proposals.valid.unsqueeze(1))
        if self.config.dense:
            dense = torch.einsum("md,bdn->bmn", read.phrase, self._unit_map(seen))
            if self.kernel is not None:
                related = self.kernel.read(read.words, read.mask)
                cells = seen.map / math.sqrt(self.config.width)
                dense = dense + self.kernel.all_pairs(cells, *related, seen.offsets)
            pooled = pooled + self._smooth_max(dense)
        return self.late_scale.exp() * pooled

    def ground(
        self, seen: Seen, read: Read, cam: Tensor | None, known: Tensor | None = None
    ) -> Grounded:
        """Scores of the proposals and of the image, for P pairs.

        cam (P, h, w) in [0, 1] and known (P,) bool; cam None withholds it from every pair.
        """
        proposals = seen.proposals
        regional = torch.einsum("pd,pkd->pk", read.subject, self._unit_regions(seen))
        scores = self.region_scale.exp() * regional + self.prior * proposals.objectness
        cam_regions = cam_tokens = None
        if self.cam_encoder is not None:
            if cam is None:
                cam = seen.map.new_zeros(len(regional), *seen.map.shape[-2:])
                known = torch.zeros(len(regional), dtype=torch.bool, device=cam.device)
            if known is None:
                known = torch.ones(len(regional), dtype=torch.bool, device=cam.device)
            cam_regions, cam_scores, cam_tokens = self.cam_encoder(cam, known, proposals.boxes)
            scores = scores + cam_scores
        if self.fusion is not None:
            scores = scores + self.fusion(
                seen.regions,
                proposals,
                read.subject,
                read.words,
                read.mask,
                seen.grid,
                cam_regions,
                cam_tokens,
            )
        elif self.late_cam is not None and cam_regions is not None:
            product = cam_regions * read.subject.unsqueeze(1)
            scores = scores + self.late_cam(product).squeeze(-1)
        image = self._pool(scores, proposals.valid)
        place = None
        if self.config.dense:
            dense = self._dense(seen, read)
            image = image + self.dense_scale.exp() * self._smooth_max(dense)
            shares = (dense.detach() / self.config.temperature).softmax(-1)
            place = shares.unflatten(-1, seen.map.shape[-2:])
        scores = scores.masked_fill(~proposals.valid, -torch.inf)
        return Grounded(scores, image + self.image_bias, seen.regions, place)

    def forward(
        self, features: Tensor, proposals: Proposals, tokens: Tensor, mask: Tensor
    ) -> Tensor:
        """Image logits (P,) of P pairs without a CAM: what attention mining asks after erasing."""
        return self.ground(self.see(features, proposals), self.read(tokens, mask), None).image_logit

    def own_cam(self, grounded: Grounded, visual: Tensor, order: str = "exact") -> Tensor:
        """The model's own Grad-CAM (P, H, W), at least 0: relu(sum_k alpha_k F_k), alpha_k the mean of
        dS/dF_k (GAIN, Li et al. 2018, eq. 1 and 2), with `own_gate` kept to where the dense score rests.

        The image logit must have been computed from `visual` (P, width, H, W). `order`: "exact" keeps
        the graph through alpha (second order), "first" treats alpha as constant, "none" detaches all.
        """
        (gradient,) = torch.autograd.grad(
            grounded.image_logit.sum(), visual, create_graph=order == "exact", retain_graph=True
        )
        alpha = gradient.mean((2, 3), keepdim=True)
        if order == "none":
            visual = visual.detach()
        cam = torch.relu((alpha * visual).sum(1))
        if not self.config.own_gate or grounded.place is None:
            return cam
        return gated(cam, grounded.place)

    def rescore(self, grounded: Grounded, cam: Tensor, proposals: Proposals) -> Tensor:
        """The final scores (P, K): those of `ground` and what the own CAM (P, H, W) says of each.

        The map is taken as it is: no loss on these scores shapes it, so that a variant without attention
        mining differs in the mining alone.
        """
        if self.own_map is None:
            return grounded.scores
        numbers = map_features(cam.detach(), proposals.boxes, self.config.ring)
        said = self.own_map(numbers).squeeze(-1)
        return grounded.scores + said

    def _unit_map(self, seen: Seen) -> Tensor:
        return seen.map.flatten(2) / math.sqrt(self.config.width)

    def _unit_regions(self, seen: Seen) -> Tensor:
        return functional.normalize(seen.regions, dim=-1)

    def _smooth_max(self, similarity: Tensor, valid: Tensor | None = None) -> Tensor:
        temperature = self.config.temperature
        scaled = similarity / temperature
        if valid is None:
            return temperature * (scaled.logsumexp(-1) - math.log(scaled.shape[-1]))
        count = valid.sum(-1).clamp(min=1)
        # a finite floor keeps the gradient finite for an image without proposals
        return temperature * (scaled.masked_fill(~valid, -1e4).logsumexp(-1) - count.log())

    def _pool(self, scores: Tensor, valid: Tensor) -> Tensor:
        pooled = scores.masked_fill(~valid, -1e4).logsumexp(-1) - valid.sum(-1).clamp(min=1).log()
        return torch.where(valid.any(-1), pooled, torch.zeros_like(pooled))
