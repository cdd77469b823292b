"""Grad-CAM of SigLIP (Zhai et al. 2023; SigLIP 2 of a fixed size loads too), through pytorch-grad-cam.

There is no class token: a pooling head attends to all cells of the last layer's output, so a map may be
taken right there, the default. Texts are padded to the full length without a mask, as in training; a text's
vector therefore does not depend on the others of its batch.
"""

from __future__ import annotations

from torch import Tensor

from camground.matcher.token_grid import OUTPUT, TokenGridCam


class SiglipCam(TokenGridCam):
    """Maps of a checkpoint of transformers' SiglipModel."""

    kind = "siglip"
    model_class = "SiglipModel"
    padding = "max_length"
    class_tokens = 0
    layer_words = (OUTPUT,)

    def embed(self, photographs: Tensor) -> Tensor:
        hidden: Tensor = self.model.vision_model.embeddings(photographs, interpolate_pos_encoding=True)
        return hidden

    def pool(self, hidden: Tensor) -> Tensor:
        vision = self.model.vision_model
        vectors: Tensor = vision.head(vision.post_layernorm(hidden))
        return vectors

    def text_vectors(self, tokens: dict[str, Tensor]) -> Tensor:
        # no attention mask: the model was trained to see the padding
        vectors: Tensor = self.model.get_text_features(input_ids=tokens["input_ids"]).pooler_output
        return vectors

    def logit(self, cosine: Tensor) -> Tensor:
        logits: Tensor = cosine * self.model.logit_scale.exp() + self.model.logit_bias
        return logits
