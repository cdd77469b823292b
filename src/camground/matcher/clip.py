"""Grad-CAM of CLIP (Radford et al. 2021) with a vision transformer, through pytorch-grad-cam.

The picture's vector is the class token after the last layer, so the cells of the last layer's output have
no gradient: the latest place for a map is the normed input of the last layer, the default.
CLIP's ResNets are left out: transformers has none of them, and timm's image towers (`resnet50_clip`) come
without the text tower that they were trained with, which is published in OpenCLIP's layout alone.
"""

from __future__ import annotations

from torch import Tensor

from camground.matcher.token_grid import TokenGridCam


class ClipCam(TokenGridCam):
    """Maps of a checkpoint of transformers' CLIPModel."""

    kind = "clip"
    model_class = "CLIPModel"
    class_tokens = 1

    def embed(self, photographs: Tensor) -> Tensor:
        vision = self.model.vision_model
        hidden: Tensor = vision.pre_layrnorm(vision.embeddings(photographs, interpolate_pos_encoding=True))
        return hidden

    def pool(self, hidden: Tensor) -> Tensor:
        vision = self.model.vision_model
        vectors: Tensor = self.model.visual_projection(vision.post_layernorm(hidden[:, 0]))
        return vectors

    def text_vectors(self, tokens: dict[str, Tensor]) -> Tensor:
        vectors: Tensor = self.model.get_text_features(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        return vectors

    def logit(self, cosine: Tensor) -> Tensor:
        logits: Tensor = cosine * self.model.logit_scale.exp()
        return logits
