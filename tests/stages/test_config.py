"""The config of a study: its files agree with the models, and mistakes are named before any job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from camground.evaluation.baselines import BASELINES
from camground.stages.config import RESERVED, StudyConfig, config
from camground.study.errors import UserError
from camground.study.layers import EXTENDS, layers, merge, merged_files, read_yaml
from camground.study.section import Section, section_of

REPOSITORY = Path(__file__).resolve().parents[2]
STUDIES = sorted((REPOSITORY / "configs").glob("*.yaml"))
BENCHMARKS = ["refcoco", "refcoco+", "refcocog", "referit", "flickr30k"]


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def refusal(difference: str) -> str:
    with pytest.raises(UserError) as caught:
        StudyConfig.parse(merge(read_yaml("config.yaml"), yaml.safe_load(difference)))
    return str(caught.value)


def on_default(*studies: str | Path) -> dict[str, Any]:
    return merged_files(read_yaml("config.yaml"), *studies)


def sections(section: type[Section], path: str = "") -> Iterator[tuple[str, type[Section]]]:
    yield path, section
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            yield from sections(inner, f"{path}.{name}".strip("."))


def lines(file: Path) -> int:
    return len(file.read_text().splitlines())


# The files


def test_config_yaml_is_the_default_study_on_one_screen() -> None:
    # but for the arithmetic, which the default study has of machines with bfloat16
    bfloat16 = {"precision": "bfloat16"}
    sections = {"features": bfloat16, **{name: {"optimiser": bfloat16} for name in ("matcher", "train")}}
    assert StudyConfig.load() == StudyConfig.parse(sections)
    assert lines(REPOSITORY / "config.yaml") <= 80


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_every_study_and_its_variants_are_valid(study: Path, tmp_path: Path) -> None:
    (tmp_path / "dets.json").touch()
    boxes = {"boxes_file": {"path": str(tmp_path / "dets.json")}}
    given = merge(on_default(study), {"data_root": str(tmp_path), "proposals": boxes})
    made = StudyConfig.parse(given)
    for name in made.variants:
        made.variant(name)
    schema = Draft202012Validator(read_yaml("workflow/schemas/config.schema.json"))
    assert [error.message for error in schema.iter_errors(read_yaml(study))] == []


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_a_study_is_only_its_difference(study: Path) -> None:
    given = read_yaml(study)
    below = on_default(*layers(given)[-1:])
    for name, value in given.items():
        assert merge(below, {name: value}) != below, f"{name} is as in what it lies over"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_short_and_lies_over_what_photographs_share(name: str) -> None:
    study = REPOSITORY / "configs" / f"{name}.yaml"
    assert lines(study) <= 25
    made, photographs = StudyConfig.load(study), StudyConfig.load("configs/photographs.yaml")
    for section in ("proposals", "features", "matcher", "gradcam", "grounder", "losses", "train"):
        assert getattr(made, section) == getattr(photographs, section)
    assert photographs != StudyConfig()


def test_the_head_of_a_study_says_how_to_run_it_and_where_its_schema_is() -> None:
    for study in STUDIES:
        text = study.read_text()
        assert text.startswith("# yaml-language-server: $schema=../workflow/schemas/config.schema.json\n")
        if "no study of its own" not in text:
            assert f"--configfile configs/{study.name}" in text


def test_documents_are_those_of_the_models(tmp_path: Path) -> None:
    for action, file in (("schema", "workflow/schemas/config.schema.json"), ("docs", "docs/config.md")):
        config(action, output=tmp_path / action)
        assert (tmp_path / action).read_text() == Path(file).read_text(), "make docs"


# The models


@pytest.mark.parametrize(("path", "section"), sections(StudyConfig), ids=lambda value: str(value)[:60])
def test_every_key_is_described_and_every_default_valid(path: str, section: type[Section]) -> None:
    assert section.__doc__
    assert section.__doc__ != Section.__doc__
    for name, field in section.model_fields.items():
        described = field.description or (section_of(field.annotation) or Section).__doc__
        assert described != Section.__doc__, f"{path}.{name}"
    assert section.parse(section().to_dict()) == section()


@pytest.mark.parametrize(
    ("difference", "message"),
    [
        ("trian: {}", "trian: unknown key; did you mean `train`?"),
        ("proposals: {cuont: 3}", "proposals.cuont: unknown key; did you mean `count`?"),
        (
            "losses: {attention_mining: {weigth: 1}}",
            "losses.attention_mining.weigth: unknown key; did you mean `weight`?",
        ),
        # the name of a key that belongs elsewhere
        ("grounder: {nms_iou: 1}", "grounder.nms_iou: unknown key; did you mean `proposals.nms_iou`?"),
        ("predict: {zzzzzz: 1}", "predict.zzzzzz: unknown key; known here: batch_size, map_boxes, voting"),
        ("proposals: {count: 0}", "proposals.count: must be at least 1, not 0"),
        ("proposals: {count: many}", "proposals.count: must be a whole number, not 'many'"),
        ("proposals: {method: detctor}", "proposals.method: 'detctor' is not one of selective_search"),
        ("train: {optimiser: {learning_rate: fast}}", "learning_rate: must be a number, not 'fast'"),
        ("seeds: [1, 1]", "seeds: names 1 twice"),
        # keys of earlier versions
        ("matcher: {seed: 1}", "matcher.seed: unknown key; "),
        ("matcher: {pool: 2}", "matcher.pool: unknown key; "),
        ("data: null", "data: must hold keys, not null"),
        ("variants: {new: {grouder: {}}}", "variants.new.grouder: unknown key; did you mean `grounder`?"),
        (
            "variants: {new: {grounder: {fusoin: {}}}}",
            "variants.new.grounder.fusoin: unknown key; did you mean `fusion`?",
        ),
        (
            "variants: {new: {losses: {matching: x}}}",
            "variants.new.losses.matching: must be a number, not 'x'",
        ),
        (
            "variants: {new: {proposals: {count: 3}}}",
            "variants.new.proposals: a variant may change only grounder, losses, train",
        ),
        ("variants: {new: 3}", "variants.new: must hold keys, not 3"),
        ("variants: {oracle: {}}", "variants.oracle: the name is taken"),
        ("variants: {New-One: {}}", "variants.New-One: must match ^[a-z][a-z0-9_]*$"),
        ("variants_to_run: [full, basline]", "did you mean `baseline`?"),
        ("variants_to_run: [baseline]", "ablation.reference: 'full' is none of the variants that run"),
        ("ablation: {split: testA}", "ablation.split: testA is none of evaluate.splits: test"),
        ("data: {kind: folder}", "data_root: data.kind is folder, so give its folder"),
        ("data: {kind: refer}", "data_root: data.kind is refer, so give its folder"),
        ("{data: {kind: folder}, data_root: no/folder}", "data_root: no folder no/folder"),
        ("data: {scenes: {min_objects: 9}}", "data.scenes: min_objects (9) is above max_objects (7)"),
        ("gradcam: {source: clip}", "gradcam: source is clip, so set model"),
        ("proposals: {method: detector}", "proposals: method is detector, so set detector.model"),
        (
            "proposals: {method: boxes_file, boxes_file: {path: no.json}}",
            "proposals.boxes_file.path: no file no.json",
        ),
        (
            "{train: {tuned: {language: 1}}, variants: {r: {losses: {reconstruction: 1}}}}",
            "variants.r: losses.reconstruction rebuilds the language encoder's vectors",
        ),
        (
            "{variants: {a: {losses: {distillation: {weight: 0}}}}}",
            "variants.a: grounder.cam_encoder: it would stay random, since only distillation and",
        ),
        (
            "{variants: {a: {grounder: {cam_encoder: {enabled: false}},"
            " losses: {matching: 0, swap_ranking: 0, distillation: {weight: 0}}}}}",
            "variants.a: losses: nothing trains the proposals' scores; give one of matching, ",
        ),
        (
            "{variants: {a: {grounder: {regions_only: true, fusion: {enabled: false}, cam_encoder:"
            " {enabled: false}},"
            " losses: {contrastive: 0, matching: 0, swap_ranking: 0, distillation: {weight: 0}}}}}",
            "variants.a: losses: no loss trains the grounder; give one of them a weight",
        ),
        (
            "{variants: {a: {losses: {exclusion: 1}}}}",
            "variants.a: losses.exclusion: it needs two expressions of an image; set train.optimiser",
        ),
    ],
)
def test_a_mistake_is_named(difference: str, message: str) -> None:
    text = refusal(difference)
    assert message in text
    assert text.startswith("the config has 1 error:")


def test_all_mistakes_are_told_at_once() -> None:
    text = refusal(
        "{trian: {}, proposals: {count: 0}, losses: {contrastive: -1},"
        " variants: {new: {grounder: {own_gat: false}}}}"
    )
    assert text.startswith("the config has 4 errors:")
    for key in ("trian", "proposals.count", "losses.contrastive", "variants.new.grounder.own_gat"):
        assert f"\n  {key}: " in text


def test_a_variant_is_checked_as_a_whole_with_the_study_s_own_sections() -> None:
    """Neither alone is wrong: what reconstruction rebuilds must not move."""
    reconstruction: dict[str, Any] = {"variants": {"full": {}, "r": {"losses": {"reconstruction": 1}}}}
    assert StudyConfig.parse(reconstruction).variant("r").losses.reconstruction == 1
    tuned = {"train": {"tuned": {"language": 1}}}
    assert StudyConfig.parse(tuned).train.tuned.language == 1
    with pytest.raises(UserError, match=r"variants\.r: losses\.reconstruction"):
        StudyConfig.parse(reconstruction | tuned)


def test_text_becomes_what_the_keys_want() -> None:
    """As `snakemake --config` hands it over."""
    study = StudyConfig.parse(
        {
            "seeds": ["0", "7"],
            "data_root": "12",
            "features": {"backbone": {"output_stride": "16"}},
            "train": {"optimiser": {"learning_rate": "1e-4", "epochs": "3"}},
            "variants": {"full": {}, "new": {"grounder": {"own_gate": "false"}}},
            "variants_to_run": "null",
        }
    )
    assert study.seeds == (0, 7)
    assert study.data_root == "12"
    assert study.features.backbone.output_stride == 16
    assert (study.train.optimiser.learning_rate, study.train.optimiser.epochs) == (1e-4, 3)
    assert study.variant("new").grounder.own_gate is False
    assert study.variants_to_run is None


FILES = [
    *("results_dir", "data_root", "sources", "proposals.boxes_file.path", "data.folder.captions"),
    *("data.folder.phrases", "data.folder.images", "data.refer.dataset", "data.refer.images"),
    *("data.flickr30k.annotations", "data.flickr30k.images"),
]
MODELS = [
    *("proposals.detector.model", "gradcam.model", "features.language.name", "data.folder.spacy_model"),
    "features.backbone.name",
]


@pytest.mark.parametrize("key", [*FILES, *MODELS])
def test_every_path_is_treated_alike(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    before = "auto/" if key == "features.backbone.name" else ""
    others = {"features": {"backbone": {"output_stride": None}}} if before else {}

    def read(path: str) -> str:
        value: Any = before + path
        for part in reversed(key.split(".")):
            value = {part: value}
        found: Any = StudyConfig.parse(merge(others, value))
        for part in key.split("."):
            found = getattr(found, part)
        return str(found).removeprefix(before)

    assert read("~/my grüße") == "/home/me/my grüße"
    assert read("some/~place") == "some/~place"
    assert read("~nobody-of-this-name/x") == "~nobody-of-this-name/x"
    if key in MODELS:
        assert read("a{b}") == "a{b}"
    else:
        for path in ("a{b}", "~/{", "x}"):
            with pytest.raises(UserError, match=rf"{key}: braces are wildcards to Snakemake; rename "):
                read(path)


@pytest.mark.parametrize("value", [2024, 1.5, "2024", "ÄÖ x"])
def test_a_name_may_be_a_number(value: Any) -> None:
    """`snakemake --config` makes numbers of what looks like one."""
    study = StudyConfig.parse({"data_root": value, "results_dir": value})
    assert (study.data_root, study.results_dir) == (str(value), str(value))
    if value != "ÄÖ x":
        assert StudyConfig.parse({"dataset": value}).dataset == str(value)


def test_a_study_of_the_checkout_is_the_same_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = REPOSITORY / "configs" / "mining.yaml"
    here = StudyConfig.load(path)
    monkeypatch.chdir(tmp_path)
    elsewhere = StudyConfig.load(path)
    assert elsewhere == here
    # where it works wins over where the code lies
    (tmp_path / "config.yaml").write_text("{dataset: own, seeds: [7]}")
    assert StudyConfig.load().dataset == "own"


def test_a_variant_changes_what_it_names_and_nothing_else() -> None:
    study = StudyConfig()
    varied = study.variant("no_fusion")
    assert varied.grounder.fusion.enabled is False
    assert (varied.losses, varied.train) == (study.losses, study.train)
    assert study.variant("full").grounder == study.grounder
    with pytest.raises(UserError, match="did you mean `no_fusion`"):
        study.variant("no_fusoin")


def test_variants_of_the_table_in_its_order() -> None:
    assert StudyConfig().variant_names == list(StudyConfig().variants)
    chosen = {"variants_to_run": ["baseline", "full"]}
    assert StudyConfig.parse(chosen).variant_names == ["baseline", "full"]


def test_a_part_holds_what_was_asked_for_whatever_the_order() -> None:
    study = StudyConfig()
    text = study.part("proposals", "data.kind", "data.scenes.train", seed=3)
    assert json.loads(text) == {
        "proposals": study.proposals.to_dict(),
        "data": {"kind": "scenes", "scenes": {"train": 1600}},
        "seed": 3,
    }
    assert study.part("data.kind", "data.scenes.train", "proposals", seed=3) == text
    with pytest.raises(KeyError):
        study.part("proposal")


def test_names_that_a_variant_may_not_take() -> None:
    rules = {path.stem for path in (REPOSITORY / "rules").glob("*.smk")} - {"common", "targets"}
    assert rules | set(BASELINES) | {"all", "baselines"} <= RESERVED


# The command


def test_without_a_config_yaml_the_defaults_lie_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("camground.study.layers.CHECKOUT", tmp_path)
    assert StudyConfig.load() == StudyConfig()
    (tmp_path / "mine.yaml").write_text("variants: {mine: {losses: {matching: 0.0}}}")
    assert StudyConfig.load("mine.yaml").variant_names == [*StudyConfig().variants, "mine"]


def test_show_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("{extends: configs/photographs.yaml, dataset: mine, proposals: {count: 9}}")
    config("show", [mine])
    shown = yaml.safe_load(capsys.readouterr().out)
    assert StudyConfig.parse(shown) == StudyConfig.load(mine)
    assert (shown[EXTENDS], shown["proposals"]["count"]) == ("configs/photographs.yaml", 9)
    assert shown["features"]["backbone"]["grid"] == 20
    config("check", [mine])
    assert capsys.readouterr().out == "no error\n"
    mine.write_text("proposals: {cuont: 9}")
    with pytest.raises(UserError, match="did you mean `count`"):
        config("check", [mine])
