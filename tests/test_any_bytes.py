"""Whatever bytes are in a file, its reader gives rows or a `UserError`, never another exception.

    CAMGROUND_DAMAGED_FILES=10000 pytest tests/test_any_bytes.py

The photographs' reader has a test of its own, in tests/data/test_photographs.py.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import fake_study
from benchmark_files import run_refer, small_flickr30k, small_refer
from camground.data.download.fetch import fetch
from camground.data.download.sources import read_sources
from camground.data.download.unpack import unpack
from camground.data.readers.plain_pickle import load_plain_pickle
from camground.features.backbone import Backbone
from camground.features.config import BackboneConfig
from camground.features.store import FeatureStore
from camground.grounder.config import GrounderConfig
from camground.grounder.loading import load_grounder
from camground.grounder.model_folder import read_settings
from camground.grounder.presence import read_calibration
from camground.matcher.matcher import load_matcher
from camground.proposals.boxes_file import read_boxes
from camground.proposals.config import BoxesFileConfig
from camground.proposals.proposer import Photograph
from camground.report.leakage import leakage
from camground.report.published import read_published
from camground.stages.command import read_config
from camground.stages.config import StudyConfig
from camground.study import tables
from camground.study.errors import UserError
from camground.study.layers import merged_files
from camground.study.schemas import SCHEMAS
from camground.tracking.records import read_mapping
from camground.tracking.store import find_store, is_whole
from conftest import REPOSITORY
from damaged_files import damaged
from data_stage import run_data
from photograph_folder import Folder
from tiny_study import make_study, run_train, some_calibration

INPUTS = int(os.environ.get("CAMGROUND_DAMAGED_FILES", "25"))  # of each reader
SOURCES = REPOSITORY / "src/camground/data/download/sources.yaml"

# Whole files, and what reads one of them, or all that belong together.
Read = tuple[list[Path], Callable[[Path], object]]


def folder_of_photographs(root: Path) -> Read:
    folder = Folder(root, captioned=6, boxed=2)
    folder.run()
    files = [folder.root / "captions.csv", folder.root / "phrases.csv"]
    return files, lambda file: folder.run(share=1.0, write=False)


def refer(root: Path) -> Read:
    made = small_refer(root).write()
    return [made.refs_file, made.instances_file], lambda file: run_refer(made, root / "out", share=1.0)


def flickr30k(root: Path) -> Read:
    folder = small_flickr30k(root)
    of_photograph = (folder / "Sentences/1000092795.txt", folder / "Annotations/1000092795.xml")
    return [*of_photograph, folder / "val.txt"], lambda file: run_data(root / "out", "flickr30k", root, 1.0)


def pickles(root: Path) -> Read:
    value = [{"a": [1, 2.5, None, True, np.int64(3)], "b": ("x", "é" * 300), "c": 2**70}] * 3
    files = [root / f"{protocol}.p" for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for protocol, file in enumerate(files):
        file.write_bytes(pickle.dumps(value, protocol))
    return files, load_plain_pickle


def boxes_file(root: Path) -> Read:
    entry = {"bbox": [1, 2, 10.5, 12], "score": 0.5, "category_id": 1}
    content = {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in range(4)],
        "categories": [{"id": 1, "name": "boat"}],
        "annotations": [{"image_id": number % 4, **entry} for number in range(8)],
    }
    files = [root / "listed.json", root / "plain.json"]
    files[0].write_text(json.dumps(content))
    files[1].write_text(json.dumps(content["annotations"]))
    photographs = [Photograph(f"{number}.jpg", f"{number}.jpg", (64, 48)) for number in range(4)]
    return files, lambda file: read_boxes(
        BoxesFileConfig(path=str(file), max_rejected_share=1.0), photographs, root / "rejected.parquet"
    )


def every_table(root: Path) -> Read:
    study = fake_study.make(root / "toy", images=4, per_image=2)
    found = {path.stem: path for path in sorted(study.rglob("*.parquet")) if path.stem in SCHEMAS}
    assert len(found) > 10
    return list(found.values()), lambda file: (
        tables.read(file.stem, file),
        list(tables.batches(file.stem, file)),
    )


def checkpoints(root: Path) -> Read:
    paths = make_study(root / "study")
    grounder = run_train(paths, root / "grounder", epochs=1)
    folders = (paths["matcher"], grounder)
    files = [folder / name for folder in folders for name in ("checkpoint.safetensors", "config.yaml")]
    return (
        files,
        lambda file: load_grounder(grounder) if file.parent == grounder else load_matcher(file.parent),
    )


def features(root: Path) -> Read:
    paths = make_study(root / "study")
    folder, text = paths["features"], tables.read("expressions", paths["expressions"])["text"][0]

    def read(file: Path) -> None:
        store = FeatureStore(folder)
        store.images([0])
        store.texts([text])

    return [folder / "features.json", folder / "visual.npy", folder / "tokens.npy"], read


def weights_of_a_backbone(root: Path) -> Read:
    import timm

    file = root / "weights.pt"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    config = {"name": "timm/test_resnet", "checkpoint": str(file), "image_size": 32, "levels": [1], "grid": 2}
    return [file], lambda file: Backbone(BackboneConfig.parse(config))


def configs(root: Path) -> Read:
    files = [root / "config.yaml", root / "study.yaml"]
    files[0].write_bytes((REPOSITORY / "config.yaml").read_bytes())
    files[1].write_bytes((REPOSITORY / "configs/smoke.yaml").read_bytes())
    return files, lambda file: StudyConfig.parse(merged_files(merged_files({}, files[0]), files[1]))


def section_of_a_stage(root: Path) -> Read:
    file = root / "config.json"
    file.write_text(json.dumps(GrounderConfig().to_dict()))
    return [file], lambda file: read_config(str(file), GrounderConfig)


def table_of_mirrors(root: Path) -> Read:
    file = root / "mirrors.yaml"
    rows = yaml.safe_load(SOURCES.read_text())
    few = dict(list(rows["sources"].items())[:2])
    file.write_text(yaml.safe_dump({"sources": few}))
    return [file], lambda file: read_sources(file)


def lock_table(root: Path) -> Read:
    source = read_sources()["refcoco"].model_copy(
        update={"unpack": False, "file": "notes.txt", "proof": "nothing", "addresses": (), "bytes": None}
        | dict.fromkeys(("sha256", "md5", "git_blob"))
    )
    there, file = source.download(root), root / "downloads" / "lock.json"
    for path in (file, there):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"abc")
    file.unlink()
    fetch(source, root)
    return [file], lambda file: fetch(source, root)


def archives(root: Path) -> Read:
    files = [root / "a.zip", root / "a.tar", root / "a.tgz"]
    with zipfile.ZipFile(files[0], "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/proof", b"proof" * 30)
        archive.writestr("set/deep/other", b"other" * 30)
    for file, mode in ((files[1], "w"), (files[2], "w:gz")):
        with tarfile.open(file, mode) as archive:
            for name in ("set/proof", "set/deep/other"):
                info = tarfile.TarInfo(name)
                info.size = 150
                archive.addfile(info, io.BytesIO(b"proof" * 30))

    def read(file: Path) -> None:
        unpack(file, root / f"place{len(list(root.iterdir()))}", "proof", "set")

    return files, read


def model_folder(root: Path) -> Read:
    file = root / "grounding.json"
    file.write_text(
        json.dumps({"proposals": {"count": 8}, "gradcam": {}, "predict": {"voting": {"iou": 0.5}}})
    )
    calibration = some_calibration(root)
    return [file, calibration], lambda _: (read_settings(root), read_calibration(calibration))


def summaries(root: Path) -> Read:
    folder = make_study(root / "study")
    folder = run_train(folder, root / "out", epochs=1)
    files = [folder / "summary.json", folder / "config.yaml"]
    return files, lambda file: read_mapping(file, json.loads if file == files[0] else yaml.safe_load)


def what_the_report_reads(root: Path) -> Read:
    study = fake_study.make(root / "toy", images=4, per_image=2)
    audit = study / "data" / "leakage.json"
    shared = {"dataset": "refcoco+", "split_by": "unc", "split": "testA", "of": 9, "photographs": ["1"]}
    content = {"compared": ["refcoco(unc)", "refcoco+(unc)"], "siblings": [shared], "unreadable": {}}
    audit.write_text(json.dumps(content))
    published = root / "published.yaml"
    published.write_bytes((REPOSITORY / "src/camground/report/published.yaml").read_bytes())
    return [audit, published], lambda file: (leakage(fake_study.results(study)), read_published(published))


def written_runs(root: Path) -> Read:
    file = root / "toy" / "tracking.json"
    file.parent.mkdir()
    content = {"store": "mlflow.db", "runs": {"toy/ablation": "0" * 32}, "artifacts": {"toy/0": 1}}
    file.write_text(json.dumps(content))
    return [file], lambda file: is_whole(file, find_store(root))


READERS = (
    *(folder_of_photographs, refer, flickr30k, pickles, boxes_file, every_table, checkpoints, features),
    *(weights_of_a_backbone, configs, section_of_a_stage, table_of_mirrors, lock_table, archives),
    *(model_folder, summaries, what_the_report_reads, written_runs),
)


def damages(files: Iterable[Path], count: int) -> Iterable[Path]:
    """Each of the files in turn, damaged; whole again afterwards."""
    rng, wholes = random.Random(0), {file: file.read_bytes() for file in files}
    for number in range(count):
        file = list(wholes)[number % len(wholes)]
        file.write_bytes(damaged(wholes[file], rng))
        yield file
        file.write_bytes(wholes[file])


@pytest.mark.parametrize("make", READERS, ids=lambda make: make.__name__)
def test_any_bytes_are_rows_or_a_user_error(
    make: Callable[[Path], Read], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("camground.data.kinds.FEWEST", 1)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    files, read = make(tmp_path)
    for file in files:
        read(file)
    refused = 0
    for file in damages(files, INPUTS):
        try:
            read(file)
        except UserError:
            refused += 1
        except Exception as error:
            pytest.fail(f"{file.name} holds {file.read_bytes()[:3000]!r}: {type(error).__name__}: {error}")
    # whether the store is whole is a yes or a no
    assert refused or make is written_runs, "no accident was noticed"
