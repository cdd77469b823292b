"""The config library: the schema and config.yaml say the same, and mistakes are told apart."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from camground.study.config import (
    RESERVED,
    keys,
    load_config,
    merge,
    read_yaml,
    schema,
    section,
    typed,
    validate,
    variant_config,
    variants_to_run,
)
from camground.study.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
STUDIES = sorted((REPOSITORY / "configs").glob("*.yaml"))


def config_keys(config: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in config.items():
        yield path + name
        if isinstance(value, dict) and name != "variants":
            yield from config_keys(value, f"{path}{name}.")


def objects(rules: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, rules
    for name, inner in rules.get("properties", {}).items():
        yield from objects(inner, f"{path}.{name}")


def refusal(difference: str) -> str:
    config = typed(merge(load_config(), yaml.safe_load(difference)))
    with pytest.raises(UserError) as caught:
        validate(config)
    return str(caught.value)


def test_schema_and_config_have_the_same_keys() -> None:
    assert sorted(config_keys(load_config())) == sorted(keys(schema()))


@pytest.mark.parametrize(("path", "rules"), objects(schema()), ids=lambda value: str(value)[:60])
def test_every_key_is_described_and_closed(path: str, rules: dict[str, Any]) -> None:
    if path:
        assert len(rules.get("description", "")) > 10
    assert "type" in rules or "enum" in rules, "any value would pass"
    if rules.get("type") == "object" and path != ".variants":
        assert rules["additionalProperties"] is False
        assert rules["properties"]


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_every_study_and_its_variants_are_valid(study: Path, tmp_path: Path) -> None:
    config = merge(merge(load_config(), read_yaml(study)), {"data_root": str(tmp_path)})
    validate(config)
    for name in config["variants"]:
        validate(variant_config(config, name))


def test_a_study_is_only_its_difference() -> None:
    for study in STUDIES:
        default, given = load_config(), read_yaml(study)
        if study.stem == "mining":  # laid over the study of the scenes
            default = merge(default, read_yaml(study.with_stem("study")))
        assert merge(default, given) != default
        for name, value in given.items():
            assert default[name] != value, f"{study}: {name} is as in config.yaml"


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        ("trian: {}", "trian: unknown key; did you mean `train`?"),
        ("proposals: {cuont: 3}", "proposals.cuont: unknown key; did you mean `count`?"),
        (
            "losses: {attention_mining: {weigth: 1}}",
            "losses.attention_mining.weigth: unknown key; did you mean `weight`?",
        ),
        # the name of a key that belongs elsewhere
        ("model: {nms_iou: 1}", "model.nms_iou: unknown key; did you mean `proposals.nms_iou`?"),
        ("predict: {zzzzzz: 1}", "predict.zzzzzz: unknown key; known here: splits, batch_size"),
        ("proposals: {count: 0}", "proposals.count: 0 is less than the minimum of 1"),
        ("proposals: {count: many}", "proposals.count: 'many' is not of type 'integer'"),
        ("proposals: {mode: fats}", "proposals.mode: 'fats' is not one of ['fast', 'quality']"),
        ("train: {optimiser: {learning_rate: fast}}", "learning_rate: 'fast' is not of type"),
        ("seeds: [1, 1]", "seeds: [1, 1] has non-unique elements"),
        ("data: null", "data: None is not of type 'object'"),
        ("variants: {new: {modle: {}}}", "variants.new.modle: unknown key; did you mean `model`?"),
        (
            "variants: {new: {model: {fusoin: {}}}}",
            "variants.new.model.fusoin: unknown key; did you mean `fusion`?",
        ),
        ("variants: {new: {model: {width: x}}}", "variants.new.model.width: 'x' is not of type"),
        ("variants: {new: {proposals: {count: 3}}}", "may change only model, losses, train"),
        ("variants: {oracle: {}}", "variants.oracle: the name is taken"),
        ("variants: {New-One: {}}", "'New-One' cannot be a name"),
        ("variants_to_run: [full, basline]", "did you mean `baseline`?"),
        ("variants_to_run: [baseline]", "'full' is none of the variants that run"),
        ("data: {kind: folder}", "data_root: data.kind is folder, so give the folder"),
        ("data: {scenes: {min_objects: 9}}", "data.scenes.min_objects: is above"),
        ("variants: {wide: {model: {width: 96}}}", "variant wide: train.init is matcher, so model"),
        ("evaluate: {size_edges: [0.3, 0.1]}", "evaluate.size_edges: must ascend"),
    ],
)
def test_a_mistake_is_named(difference: str, said: str) -> None:
    assert said in refusal(difference)


def test_text_becomes_what_the_schema_wants() -> None:
    given = {
        "seeds": ["0", "7"],
        "data_root": "12",
        "features": {"backbone": {"output_stride": "16"}},
        "train": {"optimiser": {"learning_rate": "1e-4", "epochs": "3"}},
        "variants": {"new": {"model": {"own_map": "false", "width": "8"}}},
        "variants_to_run": "null",
        "losses": {"contrastive": "much"},
        "no_such_key": "1",
    }
    assert typed(given) == {
        "seeds": [0, 7],
        "data_root": "12",
        "features": {"backbone": {"output_stride": 16}},
        "train": {"optimiser": {"learning_rate": 0.0001, "epochs": 3}},
        "variants": {"new": {"model": {"own_map": False, "width": 8}}},
        "variants_to_run": None,
        "losses": {"contrastive": "much"},
        "no_such_key": "1",
    }
    assert typed(load_config()) == load_config()


def test_a_variant_of_another_width_starts_at_random() -> None:
    wide = {"variants": {"wide": {"model": {"width": 96}, "train": {"init": "random"}}}}
    validate(merge(load_config(), wide))


def test_all_mistakes_are_told_at_once() -> None:
    text = refusal("{trian: {}, proposals: {count: 0}, variants: {new: {model: {widht: 3}}}}")
    assert text.startswith("the config has 3 errors:")
    assert all(key in text for key in ("trian", "proposals.count", "variants.new.model.widht"))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    assert f"no folder {missing}" in refusal(f"{{data: {{kind: folder}}, data_root: {missing}}}")


def test_files_that_are_no_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml"):
        read_yaml(tmp_path / "absent.yaml")
    for text in ("a: [", "- a\n- b\n"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(UserError, match=r"bad\.yaml"):
            read_yaml(tmp_path / "bad.yaml")


def test_merge_goes_key_by_key_and_copies() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    difference = {"a": {"c": [5]}, "e": {"f": 6}}
    kept = copy.deepcopy((base, difference))
    merged = merge(base, difference)
    assert merged == {"a": {"b": 1, "c": [5]}, "d": 3, "e": {"f": 6}}
    merged["a"]["c"].append(7)
    merged["e"]["f"] = 8
    assert (base, difference) == kept


def test_variant_changes_what_it_names_and_nothing_else() -> None:
    config = load_config()
    varied = variant_config(config, "no_fusion")
    assert varied["model"]["fusion"]["enabled"] is False
    varied["model"]["fusion"]["enabled"] = True
    assert varied == config
    assert variant_config(config, "full") == config
    with pytest.raises(UserError, match="did you mean `no_fusion`"):
        variant_config(config, "no_fusoin")


def test_variants_to_run() -> None:
    config = load_config()
    assert variants_to_run(config) == list(config["variants"])
    config["variants_to_run"] = ["baseline", "full"]
    assert variants_to_run(config) == ["baseline", "full"]


def test_section_holds_what_was_asked_for_whatever_the_order() -> None:
    config = load_config()
    text = section(config, "proposals", "data.kind", "data.scenes.train", seed=3)
    assert json.loads(text) == {
        "proposals": config["proposals"],
        "data": {"kind": "scenes", "scenes": {"train": config["data"]["scenes"]["train"]}},
        "seed": 3,
    }
    turned = {name: config[name] for name in reversed(config)}
    assert section(turned, "data.kind", "proposals", "data.scenes.train", seed=3) == text
    with pytest.raises(KeyError):
        section(config, "proposal")


def test_names_that_a_variant_may_not_take() -> None:
    from camground.evaluation.baselines import BASELINES

    rules = {path.stem for path in (REPOSITORY / "rules").glob("*.smk")} - {"common", "targets"}
    assert rules | set(BASELINES) | {"all", "baselines"} <= RESERVED
