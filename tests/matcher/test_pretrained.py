"""Grad-CAM of tiny pretrained vision-language models: BLIP, CLIP and SigLIP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from camground.matcher.cam import open_cam
from camground.matcher.config import GradcamConfig
from camground.study.errors import UserError
from tiny_matchers import KINDS, PATCH, SIDE, opened, photographs_for
from tiny_models import DEVIATION, MEAN, TEXTS

OWNER = torch.tensor([0, 0, 1])


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize(
    ("image_size", "grid"), [(None, (4, 4)), ([48, 48], (6, 6)), ([16, 64], (2, 8)), ([47, 30], (5, 3))]
)
def test_maps_have_the_grid_of_the_model_and_lie_between_0_and_1(source, image_size, grid, checkpoints):
    with opened(source, checkpoints, image_size=image_size) as cam:
        assert cam.grid == grid
        assert cam.size == (PATCH * grid[0], PATCH * grid[1])
        maps = cam(photographs_for(cam), OWNER, TEXTS)
    assert maps.shape == (3, *grid)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert maps.max(axis=(1, 2)) == pytest.approx(1, abs=1e-3)
    assert all(len(np.unique(each.round(5))) > 1 for each in maps)
    # two texts of one picture differ
    assert not np.allclose(maps[0], maps[1], atol=1e-3)


@pytest.mark.parametrize("source", KINDS)
def test_a_batch_equals_each_text_alone_whatever_it_is_padded_to(source, checkpoints):
    with opened(source, checkpoints) as cam:
        photographs = photographs_for(cam)
        together = cam(photographs, OWNER, TEXTS)
        first = torch.tensor([0])
        for row, text in enumerate(TEXTS):
            alone = cam(photographs[OWNER[[row]]], first, [text])
            assert np.allclose(together[row], alone[0], atol=1e-4)
        # the longest text is longer than the others, so those were padded
        lengths = cam.tokens(TEXTS)["attention_mask"].sum(1)
        assert lengths[1] > lengths[0] > lengths[2]


@pytest.mark.parametrize("source", KINDS)
def test_hooks_are_released(source, checkpoints):
    with opened(source, checkpoints) as cam:
        model = cam.model
        hooked = [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
        assert hooked
        cam(photographs_for(cam), OWNER, TEXTS)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(not p.requires_grad and p.grad is None for p in model.parameters())


def blip_by_hand(folder: str, photographs, owner, text: str, layer: int):
    """Attention (heads, T, cells) and its gradient in one pair, from the whole model's own forward."""
    from transformers import AutoTokenizer, BlipForImageTextRetrieval

    model = BlipForImageTextRetrieval.from_pretrained(folder).eval()
    kept = {}
    module = model.text_encoder.encoder.layer[layer].crossattention.self
    module.register_forward_hook(lambda module, inputs, output: kept.update(attention=output[1]))
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    out = model(
        input_ids=tokens["input_ids"],
        attention_mask=tokens["attention_mask"],
        pixel_values=photographs[owner : owner + 1],
    )
    (gradient,) = torch.autograd.grad(out.itm_score[0, 1], kept["attention"])
    cells = (SIDE // PATCH) ** 2
    return kept["attention"][0, ..., -cells:].detach(), gradient[0, ..., -cells:]


@pytest.mark.parametrize("layer", [0, 1, -1])
def test_blip_is_attention_times_rectified_gradient(layer, checkpoints):
    pooled = {
        "mean": lambda by_token: by_token.mean(0),
        "max": lambda by_token: by_token.amax(0),
        1: lambda by_token: by_token[min(1, len(by_token) - 1)],
        -2: lambda by_token: by_token[max(0, len(by_token) - 2)],
    }
    for (tokens, pool), heads, special in zip(
        [*pooled.items(), *pooled.items()],
        ["mean", 2, "mean", -1, 0, "mean", 3, "mean"],
        [True, False, False, True, False, True, True, False],
        strict=True,
    ):
        settings = {"layer": layer, "heads": heads, "tokens": tokens, "special_tokens": special}
        with opened("blip", checkpoints, **settings) as cam:
            photographs = photographs_for(cam)
            found = cam(photographs, OWNER, TEXTS)
        for row, text in enumerate(TEXTS):
            attention, gradient = blip_by_hand(checkpoints["blip"], photographs, int(OWNER[row]), text, layer)
            product = attention * gradient.clamp(min=0)
            by_token = product.mean(0) if heads == "mean" else product[heads]
            kept = by_token if special else by_token[1:-1]
            expected = pool(kept)
            # no gradient reaches the other tokens of the last layer: the matching head reads [CLS]
            if expected.max() == 0:
                assert found[row].max() == 0
                continue
            expected = (expected / expected.max()).reshape(4, 4).numpy()
            assert np.allclose(found[row], expected, atol=1e-4), (settings, text)


def test_special_tokens_change_a_map_and_an_empty_text_falls_back_on_them(checkpoints):
    maps = {}
    for special in (True, False):
        with opened("blip", checkpoints, special_tokens=special) as cam:
            maps[special] = cam(photographs_for(cam), torch.tensor([0, 0]), ["red boat", ""])
    assert not np.allclose(maps[True][0], maps[False][0], atol=1e-3)
    assert np.allclose(maps[True][1], maps[False][1], atol=1e-6)
    assert maps[False][1].max() == pytest.approx(1)


@pytest.mark.parametrize(
    ("source", "layer"), [("clip", -1), ("clip", 0), ("siglip", "output"), ("siglip", -2)]
)
def test_token_grids_are_grad_cam_of_the_models_own_logit(source, layer, checkpoints):
    """Scores equal those of transformers' forward, and maps equal Selvaraju et al. 2017, eq. 1 and 2."""
    from transformers import AutoModel

    with opened(source, checkpoints, layer=layer) as cam:
        photographs = photographs_for(cam)
        found = cam(photographs, OWNER, TEXTS)
        with torch.no_grad():
            scores = cam.scores(cam.encode(photographs)[OWNER], TEXTS)
        tokens = cam.tokens(TEXTS, cam.padding)
    model = AutoModel.from_pretrained(checkpoints[source]).eval()
    layers = model.vision_model.encoder.layers
    target = model.vision_model.post_layernorm
    if layer != "output":
        target = layers[layer].layer_norm1
    kept = {}
    target.register_forward_hook(lambda module, inputs, output: kept.update(activation=output))
    given = {"input_ids": tokens["input_ids"]}
    if source == "clip":
        given["attention_mask"] = tokens["attention_mask"]
    logits = model(pixel_values=photographs, **given).logits_per_image
    for row in range(3):
        score = logits[OWNER[row], row]
        assert score.item() == pytest.approx(scores[row].item(), abs=1e-4)
        (gradient,) = torch.autograd.grad(score, kept["activation"], retain_graph=True)
        picture = int(OWNER[row])
        cells = (SIDE // PATCH) ** 2
        activation = kept["activation"][picture, -cells:]
        alpha = gradient[picture, -cells:].mean(0)
        by_hand = functional.relu(activation @ alpha).reshape(4, 4)
        by_hand = by_hand - by_hand.min()
        expected = (by_hand / by_hand.max()).detach().numpy()
        assert np.allclose(found[row], expected, atol=1e-3)


def test_a_photograph_is_squashed_whole_and_scaled_as_its_checkpoint_says(checkpoints, tmp_path):
    path = tmp_path / "wide.png"
    pixels = np.zeros((20, 90, 3), dtype=np.uint8)
    pixels[:, :30] = 255  # a crop of the middle would lose it
    Image.fromarray(pixels).save(path)
    for source in KINDS:
        with opened(source, checkpoints) as cam:
            seen = cam.read(path)
        assert seen.shape == (3, SIDE, SIDE)
        plain = seen * torch.tensor(DEVIATION).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
        white = (plain > 0.5).float().mean().item()
        assert white == pytest.approx(1 / 3, abs=0.04)
        assert plain[:, :, :5].min() == pytest.approx(1, abs=0.02)
        assert plain[:, :, -5:].abs().max() == pytest.approx(0, abs=0.02)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"broken\.png: unreadable"):
        cam.read(tmp_path / "broken.png")


@pytest.mark.parametrize(
    ("source", "wrong", "named"),
    [
        ("blip", {"layer": 3}, r"gradcam\.blip\.layer: 3; the model has 3 layers: 0 to 2"),
        ("blip", {"layer": -4}, r"gradcam\.blip\.layer: -4"),
        ("blip", {"heads": 4}, r"gradcam\.blip\.heads: 4; the model has 4 heads.*mean"),
        ("blip", {"heads": "median"}, r"gradcam\.blip\.heads.* not 'median'"),
        ("blip", {"tokens": "median"}, r"gradcam\.blip\.tokens.* not 'median'"),
        ("clip", {"layer": 3}, r"gradcam\.clip\.layer: 3; the model has 3 layers"),
        ("clip", {"layer": "output"}, r"gradcam\.clip\.layer.* not 'output'"),
        ("clip", {"method": "gated"}, r"gradcam\.clip\.method.*hirescam.* not 'gated'"),
        ("siglip", {"layer": "outptu"}, r"gradcam\.siglip\.layer.*output.* not 'outptu'"),
    ],
)
def test_unknown_layers_heads_and_methods_are_named(source, wrong, named, checkpoints):
    with pytest.raises(UserError, match=named):
        opened(source, checkpoints, **wrong)


def test_models_that_cannot_be_used_are_named(checkpoints, tmp_path):
    for source, model, named in (
        ("clip", checkpoints["blip"], r"type 'blip'.*gradcam\.source is 'clip'"),
        ("blop", checkpoints["blip"], r"gradcam\.source: 'blop'.*matcher.*siglip"),
        ("blip", None, r"gradcam: source is blip, so set model"),
        ("blip", str(tmp_path), r"cannot load .* as blip.*preprocessor_config"),
    ):
        with pytest.raises(UserError, match=named):
            open_cam(GradcamConfig.parse({"source": source, "model": model}, "gradcam"), torch.device("cpu"))
    with pytest.raises(UserError, match=r"gradcam\.image_size: 4 x 32 is less than a patch"):
        opened("siglip", checkpoints, image_size=[4, 32])


def test_a_checkpoint_without_the_matching_head_is_refused(checkpoints, tmp_path):
    """transformers would fill the head in at random and say so in a warning alone."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "captioner"
    folder.mkdir()
    for file in Path(checkpoints["blip"]).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("itm_head")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 2 weights .*itm_head"):
        opened("blip", {"blip": str(folder)})
    (folder / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"cannot load"):
        opened("blip", {"blip": str(folder)})
