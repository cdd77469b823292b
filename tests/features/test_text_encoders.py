"""Language encoders of transformers: tiny checkpoints through the stage `features`, and wrong ones."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

import tiny_models
from camground.features.config import LanguageConfig
from camground.features.language import LanguageEncoder
from camground.study.errors import UserError
from tiny_models import TEXTS

KINDS = ["bert", "roberta", "distilbert", "clip", "t5", "gpt2"]
ROOM = {"roberta": 18, "clip": 14}  # positions for a text's tokens, the special ones among them
SPECIAL = {"t5": 1, "gpt2": 0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: tiny_models.text_encoder(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return tiny_models.study(tmp_path_factory.mktemp("study"))


def own_model(kind, folder):
    """Each model's own class, as its documentation loads it."""
    import transformers

    name = {
        "bert": "BertModel",
        "roberta": "RobertaModel",
        "distilbert": "DistilBertModel",
        "clip": "CLIPTextModel",
        "t5": "T5EncoderModel",
        "gpt2": "GPT2Model",
    }[kind]
    return getattr(transformers, name).from_pretrained(folder).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_the_stage_caches_the_words_vectors_without_the_special_tokens(kind, folders, study):
    from transformers import AutoTokenizer

    backbone = {"name": "timm/resnet10t", "image_size": 32, "levels": [1], "grid": 2}
    section = {
        "backbone": backbone,
        "language": {"name": str(folders[kind]), "max_tokens": 8},
        "batch_size": 2,
    }
    store = tiny_models.run_features(study, section)
    assert store.text_width == 16
    tokens, mask = store.texts(TEXTS)
    assert mask.sum(1).tolist() == [2, 8, 1]  # one token a word
    tokenizer = AutoTokenizer.from_pretrained(folders[kind])
    model = own_model(kind, folders[kind])
    first = 0 if kind in ("t5", "gpt2") else 1
    for row, text in enumerate(TEXTS):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        words = len(text.split())
        assert ids.shape[1] == words + SPECIAL.get(kind, 2)
        with torch.no_grad():
            wanted = model(input_ids=ids).last_hidden_state[0, first : first + words]
        assert torch.allclose(tokens[row][mask[row]], wanted, atol=5e-3)
    # "boat" in two texts has two vectors: they are contextual
    if kind != "gpt2":
        assert not torch.allclose(tokens[0, 1], tokens[2, 0], atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_long_texts_are_cut_to_what_the_model_has_positions_for(kind, folders):
    room = ROOM.get(kind)
    special = SPECIAL.get(kind, 2)
    most = room - special if room else 30
    long = "red " * 60
    config = LanguageConfig(name=str(folders[kind]), max_tokens=most)
    encoder = LanguageEncoder(config)
    with torch.no_grad():
        hidden, mask = encoder([long, "boat"])
    assert encoder.token_counts([long, "boat"]) == [most, 1]
    assert mask.sum(1).tolist() == [most, 1]
    assert torch.isfinite(hidden).all()
    if room:
        with pytest.raises(UserError, match=rf"max_tokens: {most + 1} are more .* at most {most}"):
            LanguageEncoder(config.model_copy(update={"max_tokens": most + 1}))


def test_a_text_of_unknown_words_keeps_its_special_tokens(folders):
    encoder = LanguageEncoder(LanguageConfig(name=str(folders["bert"])))
    _, mask = encoder(["red boat", "zzz"])
    assert mask.any(1).all()
    assert encoder.token_counts(["red boat", "zzz"]) == mask.sum(1).tolist()


def test_folders_that_are_no_text_encoder_are_refused(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def refused(name, said):
        with pytest.raises(UserError, match=rf"features\.language\.name: .*{said}"):
            LanguageEncoder(LanguageConfig(name=str(name)))

    refused("nobody/no-such-model", "cannot load .*hf download nobody/no-such-model")
    refused(tmp_path, "the folder must hold config")
    refused(tiny_models.backbone("resnet", tmp_path / "resnet"), "cannot load")

    # without its tokenizer's files transformers makes one that reads every text as the same
    bare = tmp_path / "bare"
    own_model("bert", folders["bert"]).save_pretrained(bare)
    refused(bare, "tokenizer has no words")

    other = tiny_models.text_encoder("bert", tmp_path / "other")
    for file in other.glob("*token*"):
        file.unlink()
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({str(n): n for n in range(99)}, unk_token="0"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="0").save_pretrained(other)
    refused(other, "knows 99 tokens and the model 15; they belong to different models")

    torn = tiny_models.text_encoder("distilbert", tmp_path / "torn")
    save_file({"head.weight": torch.zeros(2, 2)}, torn / "model.safetensors", {"format": "pt"})
    refused(torn, r"lacks \d+ weights of DistilBertModel, such as embeddings")

    padless = tmp_path / "padless"
    tiny_models.text_encoder("gpt2", padless)
    words = Tokenizer(models.WordLevel({"red": 0, "boat": 1}))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(padless)
    refused(padless, "no token to pad with")
