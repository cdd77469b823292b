"""Each benchmark's config run for real: from archives at the local server to table, report and store."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark_archives import EVALUATED, REFER, SIBLINGS, Site, serve_flickr30k, serve_refer, tiny
from camground.stages.config import StudyConfig
from camground.study import tables
from camground.study.layers import merge
from conftest import Run, Workflow, copy_workflow
from file_server import Server

# RefCOCO+ as smoke runs: with a difference between variants and the model that is served. What is left out
# differs from it in what is read and not in what is trained.
VARIANTS = {"refcoco+": ("full", "baseline"), "flickr30k": ("full",)}


class Study:
    """A benchmark's study in `folder`: workflow, data and results each in a place of their own."""

    def __init__(self, name: str, folder: Path, server: Server) -> None:
        self.name, self.site = name, Site(server, {})
        self.root, self.results = folder / "root", folder / "results"
        self.workflow: Workflow = copy_workflow(_made(folder / "workflow"))
        self.made, self.file = folder / "made", folder / "tiny.yaml"

    def snakemake(self, *arguments: str, **changes: Any) -> Run:
        """Run the study's config, a tiny one by `changes` too, on two cores."""
        sources = self.site.table(self.file.with_name("sources.yaml"))
        variants = VARIANTS.get(self.name, ())
        difference = tiny(self.root, self.results, sources, variants)
        difference["ablation"]["reference"] = variants[0] if variants else "random"
        difference["tracking"] = {"log_model": self.name == "refcoco+"}
        self.file.write_text(yaml.safe_dump(merge(difference, changes)))
        files = ("--configfile", f"configs/{self.name}.yaml", str(self.file))
        return self.workflow.snakemake("--cores", "2", *arguments, *files)

    @property
    def path(self) -> Path:
        """The folder of its results."""
        return self.results / self.name

    def left(self, folder: str = "data") -> set[str]:
        """Names of what a refused run has left there, logs and locks apart."""
        names = {path.name for path in (self.path / folder).glob("*")}
        return {name for name in names if not name.startswith(".")}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.workflow
@pytest.mark.parametrize("name", [*REFER, "flickr30k"])
def test_from_download_to_report(name: str, server: Server, tmp_path: Path) -> None:
    study = Study(name, tmp_path, server)
    if name in REFER:
        serve_refer(study.site, study.made, name)
    else:
        serve_flickr30k(study.site, study.made, study.root)
    # what is trained goes to the store too
    tracked = name in VARIANTS
    targets = () if tracked else (str(study.path / "ablation.md"), str(study.path / "report.html"))
    run = study.snakemake(*targets)
    assert run.status == 0, run.text
    assert run.jobs["download"] == (2 if name in REFER else 5)

    # brought here over a mirror that is down, a redirect and a broken connection, and kept account of
    assert "answers 404 Not Found" in run.text
    assert ("going on from byte" in run.text) == (name in REFER)
    downloads = study.root / "downloads"
    assert not list(study.root.rglob("*.part"))
    assert not list(study.root.rglob("__MACOSX"))
    locked = set(json.loads((downloads / "lock.json").read_text()))
    unknown = {key for key, row in study.site.rows.items() if row["sha256"] is None}
    assert locked == unknown | ({"flickr30k_images"} if name == "flickr30k" else set())

    # every split that the config names is in the table, with each of its phrases
    splits = StudyConfig.load(f"configs/{name}.yaml").evaluate.splits
    table = tables.read("ablation", study.path / "ablation.parquet")
    assert set(table["split"]) == set(splits)
    accuracy = table[(table["metric"] == "acc@0.5") & (table["group"] == "all")]
    # every phrase, less those of Flickr30k that mean a scene, nothing, or what is not to be seen
    assert set(accuracy["n"]) == {(4 if name in REFER else 5) * EVALUATED}
    rows = {"gradcam_box", *VARIANTS[name]} if name in VARIANTS else {"random"}
    assert {"oracle", *rows} <= set(accuracy["variant"])
    oracle = accuracy[accuracy["variant"] == "oracle"]
    assert (oracle["mean"] > 0.5).all(), "the drawn things are not among the proposals"
    images = tables.read("images", study.path / "data" / "images.parquet")
    assert images[["width", "height"]].drop_duplicates().shape[0] == 4
    assert (study.path / "ablation.md").stat().st_size > 0
    assert (study.path / "tracking.json").exists() == tracked
    assert not (study.workflow.folder / "results").exists()

    # what is shared with training is said in the log and in the report
    page = (study.path / "report.html").read_text()
    assert "None of the 8 photographs of train is in" in page
    dataset = REFER[name][0] if name in REFER else name
    if dataset in SIBLINGS:
        other = "{}({}) {}".format(dataset, *SIBLINGS[dataset])
        assert f"{other}: 2 of its 2 photographs" in run.text
        assert f'<th scope="row">{other}</th><td>2</td><td>2 (100.0 %)</td>' in page
        assert "data.refer.allow_sibling_leakage" in page
    assert ("No other data set of the family" in page) == (name == "refcoco+")

    asked = sum(len(page.asked) for page in server.pages.values())
    again = study.snakemake(*targets)
    assert again.jobs == {}
    assert sum(len(page.asked) for page in server.pages.values()) == asked
    if name == "refcoco+":
        # another data set of the family comes: the audit is made again, and nothing is learnt
        refs = study.root / "refcoco" / "refs(unc).p"
        refs.parent.mkdir()
        refs.write_bytes((study.root / dataset / refs.name).read_bytes())
        assert study.snakemake("--dry-run").jobs == {"leakage": 1, "report": 1, "tracking": 1}


@pytest.mark.workflow
def test_what_is_shared_and_what_is_missing_stop_the_study(server: Server, tmp_path: Path) -> None:
    """First the audit refuses, then, told to go on, the counts do; nothing is learnt in between."""
    study = Study("refcoco", tmp_path, server)
    serve_refer(study.site, study.made, "refcoco")
    run = study.snakemake(data={"refer": {"allow_sibling_leakage": False}})
    assert run.status != 0
    assert "refcoco(unc) trains on photographs that are evaluated on:" in run.text
    assert "data.refer.allow_sibling_leakage: true" in run.text
    assert "Traceback" not in run.text
    assert study.left() - {"leakage.json"} == {"leakage-refused.json"}
    listed = json.loads((study.path / "data" / "leakage-refused.json").read_text())
    assert listed["siblings"][0]["photographs"] == ["coco:500", "coco:501"]

    run = study.snakemake(data={"refer": {"check_counts": True}})
    assert run.status != 0
    assert "refcoco(unc), as read from" in run.text
    for line in (
        "train refs: 42404 published, 16 here (-42388)",
        "testB expressions: 5095 published, 12 here (-5083)",
        "Fewer: the file broke off",
    ):
        assert line in run.text
    assert "Traceback" not in run.text
    assert not list(study.path.rglob("*.parquet"))


@pytest.mark.workflow
def test_a_harmful_pickle_in_an_archive_is_not_run(server: Server, tmp_path: Path) -> None:
    study = Study("refcoco", tmp_path, server)
    made = serve_refer(study.site, study.made, "refcoco")
    marker = tmp_path / "ran"
    packed = BytesIO(server.pages["/refcoco"].content)
    swapped = BytesIO()
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(swapped, "w") as new:
        for info in old.infolist():
            evil = info.filename == f"refcoco/{made.refs_file.name}"
            new.writestr(info, pickle.dumps(Touch(str(marker)), 2) if evil else old.read(info))
    study.site.put("refcoco", swapped.getvalue())
    run = study.snakemake()
    assert run.status != 0
    assert "this pickle is not plain data" in run.text
    assert "It may be harmful, nothing in it was run" in run.text
    assert "Traceback" not in run.text
    assert not marker.exists()
    assert study.left() == set()


class Touch:
    """Makes a file when it is unpickled by a reader that runs what it reads."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.workflow
def test_a_climbing_zip_and_a_broken_download_leave_nothing(server: Server, tmp_path: Path) -> None:
    study = Study("refcoco", tmp_path, server)
    serve_refer(study.site, study.made, "refcoco")
    good = server.pages["/refcoco"].content
    climbing = BytesIO()
    climbing.write(good)
    with zipfile.ZipFile(climbing, "a") as archive:
        archive.writestr("../../climbed", "x")
    study.site.put("refcoco", climbing.getvalue())
    photographs = server.pages["/coco_train2014"]
    photographs.vanishes = True
    run = study.snakemake("--keep-going")
    assert run.status != 0
    assert "its member '../../climbed' leads out of the folder; nothing was unpacked" in run.text
    assert "/moved-coco_train2014: answers 404 Not Found" in run.text
    assert "run again to go on" in run.text
    assert "Traceback" not in run.text
    assert not list(tmp_path.rglob("climbed"))
    assert not (study.root / "refcoco").exists()
    assert not list(study.root.rglob("*.jpg"))
    # no archive, no receipt; of the broken one what came, to go on from, under no final name
    downloads = {path.name for path in (study.root / "downloads").glob("[!.]*")}
    assert downloads == {"train2014.zip.part", "train2014.zip.part.json", "logs"}
    assert study.left() == set()

    # both mended at the source: the same command goes on, from where the broken one broke off
    photographs.vanishes = False
    photographs.statuses.clear()
    study.site.put("refcoco", good)
    run = study.snakemake(str(study.path / "data" / "images.parquet"))
    assert run.status == 0, run.text
    assert "going on from byte" in run.text
