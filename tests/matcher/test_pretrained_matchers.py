"""Grad-CAM of pretrained vision-language models: tiny checkpoints, made here and loaded by their folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from camground.grounder.own_boxes import joint_map
from PIL import Image
from torch.nn import functional

from camground.grounder.batches import CamTable
from camground.matcher.blip import BlipCam
from camground.matcher.checkpoints import tokens_of
from camground.matcher.clip import ClipCam
from camground.matcher.pretrained import PretrainedConfig, open_pretrained
from camground.matcher.pretrained_cam import BlipCamConfig, ClipCamConfig, SiglipCamConfig
from camground.matcher.siglip import SiglipCam
from camground.stages.gradcam import GradcamConfig
from camground.stages.gradcam import main as gradcam_main
from camground.study import tables
from camground.study.config import load_config, merge, validate
from camground.study.errors import UserError
from camground.study.sections import parse

WORDS = ["a", "the", "red", "blue", "boat", "house", "left", "of", "small", "tree"]
TEXTS = ["red boat", "the small blue house left of the tree", "boat"]
SIDE, PATCH = 32, 8
CONFIGS = {"blip": BlipCamConfig(layer=1), "clip": ClipCamConfig(), "siglip": SiglipCamConfig()}
CAMS = {"blip": BlipCam, "clip": ClipCam, "siglip": SiglipCam}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 14,
}
MEAN, DEVIATION = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def randomised(model, seed: int = 0):
    """The model with weights large enough that layers, heads and words differ."""
    make = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1:
                value.copy_(torch.randn(value.shape, generator=make) * 0.35)
            elif name.endswith(("bias", "class_embedding")):
                value.copy_(torch.randn(value.shape, generator=make) * 0.1)
    return model


def write_json(folder: Path, name: str, value) -> None:
    (folder / name).write_text(json.dumps(value))


def make_blip(folder: Path) -> None:
    from transformers import BlipConfig, BlipForImageTextRetrieval, BlipImageProcessor

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    config = BlipConfig(
        text_config={
            **TEXT,
            "vocab_size": len(vocabulary),
            "encoder_hidden_size": 16,
            "pad_token_id": 0,
        },
        vision_config=VISION,
        projection_dim=8,
        image_text_hidden_size=8,
    )
    randomised(BlipForImageTextRetrieval(config)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    write_json(folder, "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    size = {"height": SIDE, "width": SIDE}
    BlipImageProcessor(size=size, image_mean=MEAN, image_std=DEVIATION).save_pretrained(folder)


def make_clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    letters = sorted(set("".join(WORDS)))
    start, end = "<|startoftext|>", "<|endoftext|>"
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in WORDS:  # byte-pair merges from the left until a word is one token
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges.append(f"{parts[0]} {parts[1]}")
            parts = [parts[0] + parts[1], *parts[2:]]
            vocabulary.append(parts[0])
    vocabulary = [*dict.fromkeys(vocabulary), start, end]
    ids = {token: number for number, token in enumerate(vocabulary)}
    special = {"bos_token_id": ids[start], "eos_token_id": ids[end], "pad_token_id": ids[end]}
    config = CLIPConfig(
        text_config={**TEXT, "vocab_size": len(vocabulary), **special},
        vision_config=VISION,
        projection_dim=8,
    )
    randomised(CLIPModel(config)).save_pretrained(folder)
    write_json(folder, "vocab.json", ids)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(dict.fromkeys(merges)) + "\n")
    names = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    write_json(folder, "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", **names})
    # crops the middle, as CLIP's own does: nothing of which may reach a map
    CLIPImageProcessor(
        size={"shortest_edge": SIDE + 8},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=MEAN,
        image_std=DEVIATION,
    ).save_pretrained(folder)


def make_siglip(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        PreTrainedTokenizerFast,
        SiglipConfig,
        SiglipImageProcessor,
        SiglipModel,
    )

    vocabulary = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    config = SiglipConfig(
        text_config={**TEXT, "vocab_size": len(vocabulary), "projection_size": 16},
        vision_config=VISION,
    )
    model = randomised(SiglipModel(config))
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-3.0)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    SiglipImageProcessor(size=size, image_mean=MEAN, image_std=DEVIATION).save_pretrained(folder)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of the three tiny checkpoints."""
    folders = {}
    for name, make in (("blip", make_blip), ("clip", make_clip), ("siglip", make_siglip)):
        folder = tmp_path_factory.mktemp(name)
        make(folder)
        folders[name] = str(folder)
    return folders


def opened(source: str, checkpoints: dict[str, str], config=None, image_size=None):
    return CAMS[source](checkpoints[source], config or CONFIGS[source], image_size)


def pictures_for(cam, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, *cam.size, generator=torch.Generator().manual_seed(3))


OWNER = torch.tensor([0, 0, 1])


@pytest.mark.parametrize("source", list(CAMS))
@pytest.mark.parametrize(
    ("image_size", "grid"),
    [(None, (4, 4)), ([48, 48], (6, 6)), ([16, 64], (2, 8)), ([47, 30], (5, 3))],
)
def test_maps_have_the_grid_of_the_model_and_lie_between_0_and_1(
    source, image_size, grid, checkpoints
):
    with opened(source, checkpoints, image_size=image_size) as cam:
        assert cam.grid == grid
        assert cam.size == (PATCH * grid[0], PATCH * grid[1])
        maps = cam(pictures_for(cam), OWNER, TEXTS)
    assert maps.shape == (3, *grid)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert maps.max(axis=(1, 2)) == pytest.approx(1, abs=1e-3)
    assert all(len(np.unique(each.round(5))) > 1 for each in maps)
    # two texts of one picture differ
    assert not np.allclose(maps[0], maps[1], atol=1e-3)


@pytest.mark.parametrize("source", list(CAMS))
def test_a_batch_equals_each_text_alone_whatever_it_is_padded_to(source, checkpoints):
    with opened(source, checkpoints) as cam:
        pictures = pictures_for(cam)
        together = cam(pictures, OWNER, TEXTS)
        first = torch.tensor([0])
        for row, text in enumerate(TEXTS):
            alone = cam(pictures[OWNER[[row]]], first, [text])
            assert np.allclose(together[row], alone[0], atol=1e-4)
        # the longest text is longer than the others, so those were padded
        lengths = tokens_of(cam.checkpoint, TEXTS, "longest")["attention_mask"].sum(1)
        assert lengths[1] > lengths[0] > lengths[2]


@pytest.mark.parametrize("source", list(CAMS))
def test_hooks_are_released(source, checkpoints):
    with opened(source, checkpoints) as cam:
        model = cam.checkpoint.model
        hooked = [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
        assert hooked
        cam(pictures_for(cam), OWNER, TEXTS)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(not p.requires_grad and p.grad is None for p in model.parameters())


def blip_by_hand(folder: str, pictures, owner, text: str, layer: int):
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
        pixel_values=pictures[owner : owner + 1],
    )
    (gradient,) = torch.autograd.grad(out.itm_score[0, 1], kept["attention"])
    cells = (SIDE // PATCH) ** 2
    return kept["attention"][0, ..., -cells:].detach(), gradient[0, ..., -cells:]


@pytest.mark.parametrize("layer", [0, 1, -1])
def test_blip_is_attention_times_rectified_gradient(layer, checkpoints):
    pooled = {
        "mean": lambda by_token: by_token.mean(0),
        "max": lambda by_token: by_token.amax(0),
        "1": lambda by_token: by_token[min(1, len(by_token) - 1)],
        -2: lambda by_token: by_token[max(0, len(by_token) - 2)],
    }
    for (tokens, pool), heads, special in zip(
        [*pooled.items(), *pooled.items()],
        ["mean", 2, "mean", "-1", 0, "mean", 3, "mean"],
        [True, False, False, True, False, True, True, False],
        strict=True,
    ):
        config = BlipCamConfig(layer, heads, tokens, special)
        with opened("blip", checkpoints, config) as cam:
            pictures = pictures_for(cam)
            found = cam(pictures, OWNER, TEXTS)
        for row, text in enumerate(TEXTS):
            attention, gradient = blip_by_hand(
                checkpoints["blip"], pictures, int(OWNER[row]), text, layer
            )
            product = attention * gradient.clamp(min=0)
            by_token = product.mean(0) if heads == "mean" else product[int(heads)]
            kept = by_token if special else by_token[1:-1]
            expected = pool(kept)
            # no gradient reaches the other tokens of the last layer: the matching head reads [CLS]
            if expected.max() == 0:
                assert found[row].max() == 0
                continue
            expected = (expected / expected.max()).reshape(4, 4).numpy()
            assert np.allclose(found[row], expected, atol=1e-4), (config, text)


def test_special_tokens_change_a_map_and_an_empty_text_falls_back_on_them(checkpoints):
    maps = {}
    for special in (True, False):
        with opened("blip", checkpoints, BlipCamConfig(1, special_tokens=special)) as cam:
            maps[special] = cam(pictures_for(cam), torch.tensor([0, 0]), ["red boat", ""])
    assert not np.allclose(maps[True][0], maps[False][0], atol=1e-3)
    assert np.allclose(maps[True][1], maps[False][1], atol=1e-6)
    assert maps[False][1].max() == pytest.approx(1)


@pytest.mark.parametrize(
    ("source", "config"),
    [
        ("clip", ClipCamConfig()),
        ("clip", ClipCamConfig(layer=0)),
        ("siglip", SiglipCamConfig()),
        ("siglip", SiglipCamConfig(layer="-2")),
    ],
)
def test_token_grids_are_grad_cam_of_the_models_own_logit(source, config, checkpoints):
    """Scores equal those of transformers' forward, and maps equal Selvaraju et al. 2017, eq. 1 and 2."""
    from transformers import AutoModel

    with opened(source, checkpoints, config) as cam:
        pictures = pictures_for(cam)
        found = cam(pictures, OWNER, TEXTS)
        with torch.no_grad():
            scores = cam.scores(cam.encode(pictures)[OWNER], TEXTS)
        tokens = tokens_of(cam.checkpoint, TEXTS, cam.padding)
    model = AutoModel.from_pretrained(checkpoints[source]).eval()
    layers = model.vision_model.encoder.layers
    target = model.vision_model.post_layernorm
    if config.layer != "output":
        target = layers[int(config.layer)].layer_norm1
    kept = {}
    target.register_forward_hook(lambda module, inputs, output: kept.update(activation=output))
    given = {"input_ids": tokens["input_ids"]}
    if source == "clip":
        given["attention_mask"] = tokens["attention_mask"]
    logits = model(pixel_values=pictures, **given).logits_per_image
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
    for source in CAMS:
        with opened(source, checkpoints) as cam:
            seen = cam.picture(path)
        assert seen.shape == (3, SIDE, SIDE)
        plain = seen * torch.tensor(DEVIATION).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
        white = (plain > 0.5).float().mean().item()
        assert white == pytest.approx(1 / 3, abs=0.04)
        assert plain[:, :, :5].min() == pytest.approx(1, abs=0.02)
        assert plain[:, :, -5:].abs().max() == pytest.approx(0, abs=0.02)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"broken\.png.*cannot be read"):
        cam.picture(tmp_path / "broken.png")


@pytest.mark.parametrize(
    ("source", "config", "named"),
    [
        (
            "blip",
            BlipCamConfig(layer=3),
            r"gradcam\.blip\.layer: 3; the model has 3 layers: 0 to 2",
        ),
        ("blip", BlipCamConfig(layer=-4), r"gradcam\.blip\.layer: -4"),
        (
            "blip",
            BlipCamConfig(1, heads=4),
            r"gradcam\.blip\.heads: 4; the model has 4 heads.*mean",
        ),
        ("blip", BlipCamConfig(1, heads="median"), r"gradcam\.blip\.heads: 'median'"),
        ("blip", BlipCamConfig(1, tokens="median"), r"gradcam\.blip\.tokens: 'median'"),
        ("clip", ClipCamConfig(layer=3), r"gradcam\.clip\.layer: 3; the model has 3 layers"),
        ("clip", ClipCamConfig(layer="output"), r"gradcam\.clip\.layer: 'output'"),
        ("clip", ClipCamConfig(method="gated"), r"gradcam\.clip\.method: 'gated'.*hirescam"),
        ("siglip", SiglipCamConfig(layer="outptu"), r"gradcam\.siglip\.layer: 'outptu'.*output"),
    ],
)
def test_unknown_layers_heads_and_methods_are_named(source, config, named, checkpoints):
    with pytest.raises(UserError, match=named):
        opened(source, checkpoints, config)


def test_models_that_cannot_be_used_are_named(checkpoints, tmp_path):
    where = torch.device("cpu")
    with pytest.raises(UserError, match=r"type 'blip'.*gradcam\.source is 'clip'"):
        open_pretrained(PretrainedConfig("clip", checkpoints["blip"]), where)
    with pytest.raises(UserError, match=r"gradcam\.source: 'blop'.*matcher.*siglip"):
        open_pretrained(PretrainedConfig("blop", checkpoints["blip"]), where)
    with pytest.raises(UserError, match=r"gradcam\.model: .*name its model"):
        open_pretrained(PretrainedConfig("blip"), where)
    with pytest.raises(UserError, match=r"gradcam\.image_size: 4 x 32 is less than a patch"):
        open_pretrained(PretrainedConfig("siglip", checkpoints["siglip"], [4, 32]), where)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"cannot load .*empty.* as blip.*preprocessor_config"):
        open_pretrained(PretrainedConfig("blip", str(empty)), where)


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
        open_pretrained(PretrainedConfig("blip", str(folder)), torch.device("cpu"))
    (folder / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"cannot load"):
        open_pretrained(PretrainedConfig("blip", str(folder)), torch.device("cpu"))


def test_the_config_asks_for_a_model_before_any_job():
    base = load_config()
    assert base["gradcam"]["source"] == "matcher"
    validate(merge(base, {"gradcam": {"source": "clip", "model": "some/where"}}))
    with pytest.raises(UserError, match=r"gradcam\.model: gradcam\.source is clip"):
        validate(merge(base, {"gradcam": {"source": "clip"}}))
    section = parse(GradcamConfig, base["gradcam"])
    assert (section.blip, section.clip, section.siglip) == (
        BlipCamConfig(),
        ClipCamConfig(),
        SiglipCamConfig(),
    )


@pytest.fixture
def study(tmp_path) -> Path:
    """A folder with the tables of two photographs and three phrases."""
    rng = np.random.default_rng(0)
    images, expressions = [], []
    sizes = {"one": (40, 30), "two": (25, 50)}
    for (name, (width, height)), split in zip(sizes.items(), ("train", "test"), strict=True):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        images.append([name, f"{name}.png", width, height, split])
    for number, (image, text) in enumerate(zip(("one", "one", "two"), TEXTS, strict=True)):
        split = "train" if image == "one" else "test"
        expressions.append([f"e{number}", image, text, "phrase", split, None, None, None])
    for name, rows in (("images", images), ("expressions", expressions)):
        columns = tables.schema(name).names
        tables.write(name, pd.DataFrame(rows, columns=columns), tmp_path / f"{name}.parquet")
    return tmp_path


def arguments_of(study: Path, section: dict) -> list[str]:
    return [
        *("--config", json.dumps({"gradcam": section})),
        *("--images", str(study / "images.parquet")),
        *("--expressions", str(study / "expressions.parquet")),
        *("--output", str(study / "cams.parquet")),
    ]


@pytest.mark.parametrize("source", list(CAMS))
def test_the_stage_writes_the_table_that_the_grounder_reads(
    source, checkpoints, study, monkeypatch
):
    section = {
        **load_config()["gradcam"],
        "source": source,
        "model": checkpoints[source],
        "image_size": [32, 48],
        "batch_size": 2,
    }
    section["blip"] = {**section["blip"], "layer": 1}
    monkeypatch.setattr(sys, "argv", ["gradcam", *arguments_of(study, section)])
    gradcam_main()
    found = tables.read("cams", study / "cams.parquet").set_index("expression_id")
    assert sorted(found.index) == ["e0", "e1", "e2"]
    assert set(found["height"]) == {4}
    assert set(found["width"]) == {6}
    assert found["source"].str.startswith(f"{source}:{checkpoints[source]}:").all()
    with opened(source, checkpoints, image_size=[32, 48]) as cam:
        pictures = torch.stack([cam.picture(study / f"{name}.png") for name in ("one", "two")])
        expected = cam(pictures, OWNER, TEXTS)
    read = CamTable(study / "cams.parquet", ["e2", "nobody", "e0"], threshold=0.4)
    maps, known, boxes = read.take(np.arange(3))
    assert known.tolist() == [True, False, True]
    assert np.allclose(maps[[0, 2]].numpy(), expected[[2, 0]], atol=0.5 / 255 + 1e-4)
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_a_failing_stage_leaves_no_table(checkpoints, study, monkeypatch):
    (study / "two.png").write_bytes(b"no picture")
    section = {"source": "clip", "model": checkpoints["clip"]}
    monkeypatch.setattr(sys, "argv", ["gradcam", *arguments_of(study, section)])
    with pytest.raises(UserError, match=r"two\.png"):
        gradcam_main()
    assert sorted(path.name for path in study.glob("*.parquet")) == [
        "expressions.parquet",
        "images.parquet",
    ]
    assert not list(study.glob(".cams*"))


def test_a_model_that_is_not_here_ends_the_stage_with_one_line(study):
    section = {"source": "blip", "model": "nobody/no-such-model"}
    done = subprocess.run(
        [sys.executable, "-m", "camground.gradcam", *arguments_of(study, section)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "nobody/no-such-model" in done.stderr
    assert "give the folder" in done.stderr
    assert not (study / "cams.parquet").exists()


def test_the_demo_of_such_a_study_takes_its_map_from_that_model(
    checkpoints, study, tmp_path, monkeypatch
):
    from dataclasses import asdict

    from camground import pipeline as grounding
    from camground.features.backbone import Backbone
    from camground.features.config import BackboneConfig, FeaturesConfig
    from camground.grounder.grounder import Grounder, GrounderConfig, TransformerConfig
    from camground.matcher.matcher import Matcher, MatcherConfig
    from camground.stages.matcher import MatcherStageConfig
    from camground.training.loop import save_parameters

    features = FeaturesConfig(backbone=BackboneConfig(image_size=64, grid=4))
    channels, width = Backbone(features.backbone).channels, 384  # MiniLM's
    wanted = GrounderConfig(width=16, map_boxes=[0.4, 0.6], transformer=TransformerConfig(grid=2))
    resolved = {
        "features": features.to_dict(),
        "model": asdict(wanted),
        "losses": {"distillation": {"threshold": 0.4}},
    }
    save_parameters(tmp_path / "grounder", Grounder(wanted, channels, width), resolved)
    small = MatcherConfig(width=16)
    matcher = {"matcher": asdict(MatcherStageConfig(model=small))}
    save_parameters(tmp_path / "matcher", Matcher(small, channels, width), matcher)
    settings = {
        "proposals": load_config()["proposals"],
        "gradcam": {"source": "clip", "model": checkpoints["clip"], "image_size": [32, 48]},
        "predict": load_config()["predict"],
    }
    given = []
    ground_batch = grounding.ground_batch

    def heard(model, batch):
        given.append(batch.cam)
        return ground_batch(model, batch)

    monkeypatch.setattr(grounding, "ground_batch", heard)
    made = grounding.Grounding(tmp_path / "grounder", tmp_path / "matcher", settings)
    found = made.ground(study / "one.png", TEXTS[:2])
    assert np.isfinite(found.to_numpy()).all()
    with opened("clip", checkpoints, image_size=[32, 48]) as cam:
        picture = cam.picture(study / "one.png").unsqueeze(0)
        expected = cam(picture, torch.tensor([0, 0]), TEXTS[:2])
    assert given[0].shape == (2, 4, 6)
    assert np.allclose(given[0].numpy(), expected, atol=1e-5)


def test_own_and_shown_map_of_different_grids_are_joined_on_the_finer_one():
    own, shown = torch.zeros(2, 4, 8), torch.zeros(2, 6, 3)
    own[:, 0, 0] = 5.0  # top left
    shown[:, -1, -1] = 1.0  # bottom right
    joint = joint_map(own, shown, torch.tensor([True, False]))
    assert joint.shape == (2, 6, 8)
    assert joint[0, 0, 0] == pytest.approx(1, abs=0.2)
    assert joint[0, -1, -1] == pytest.approx(1, abs=0.2)
    assert joint[0, 2:4, 3:5].abs().max() < 0.1
    assert joint[1, -1, -1] == 0  # not known, so not shown
    same = torch.rand(2, 4, 8)
    known = torch.ones(2, dtype=torch.bool)
    assert torch.equal(joint_map(own, same, known), own / 5 + same)


@pytest.mark.workflow
def test_a_pretrained_model_needs_neither_the_matcher_nor_the_features(workflow):
    own = workflow.dry("gradcam")
    assert own.jobs == dict.fromkeys(("data", "features", "matcher", "gradcam"), 1), own.text
    other = workflow.dry("gradcam", "--config", "gradcam={source: clip, model: some/where}")
    assert other.jobs == dict.fromkeys(("data", "gradcam"), 1), other.text
    refused = workflow.dry("gradcam", "--config", "gradcam={source: clip}")
    assert refused.status != 0
    assert "gradcam.model: gradcam.source is clip" in refused.text
