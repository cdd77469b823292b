"""Tracking: several processes on a fresh store, superseding, artifacts that survive a moved folder."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tomllib
import types
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import fake_study
from camground.evaluation.config import EvaluateConfig
from camground.evaluation.metric_table import MAIN
from camground.grounder.model_folder import GroundingSettings
from camground.study import tables
from camground.study.errors import UserError
from camground.study.provenance import config_digest, file_digest, git_sha
from camground.tracking import records
from camground.tracking.config import TrackingConfig
from camground.tracking.ingest import ingest
from camground.tracking.model import REQUIREMENTS
from camground.tracking.pages import open_once_served, serve, training_runs
from camground.tracking.store import connect, find_store, is_whole, repository

SECTIONS = {"proposals": {"count": 8}, "gradcam": {}, "predict": {"voting": {"iou": 0.5}}}


def bring_in(root: Path, variants: tuple[str, ...] = ("full", "baseline"), **config: bool) -> dict:
    """Ingest the study with two variants and one baseline."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # where MLflow keeps the address of its last store
    study = study_in(root, variants)
    options = TrackingConfig(**{"log_model": False, **config})
    settings = GroundingSettings.parse(SECTIONS)
    return ingest(study, options, EvaluateConfig(splits=("val", "test")), settings, find_store(root.parent))


def study_in(root: Path, variants: tuple[str, ...] = ("full", "baseline")) -> records.Study:
    return records.Study(root, root.name, fake_study.SEEDS, variants, ("random",), "full")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_study.make(tmp_path_factory.mktemp("made") / "toy", images=4, per_image=2)


@pytest.fixture
def root(study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(study, tmp_path / "results" / "toy"))


def live_runs(results: Path) -> dict[str, Any]:
    """The live runs by job key; fails when a key has two."""
    client = connect(find_store(results))
    experiment = client.get_experiment_by_name("toy-detected")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    keys = [run.data.tags["job_key"] for run in runs]
    assert len(keys) == len(set(keys))
    return dict(zip(keys, runs, strict=True))


def _bring_in(root: str, barrier: Any) -> None:
    barrier.wait()
    bring_in(Path(root), ("full",))


def contents(results: Path) -> dict[str, tuple[str, list[Any], list[Any]]]:
    """Of the live runs of all studies, by job key: id, params, all values of all metrics."""
    with closing(sqlite3.connect(results / "mlflow.db")) as database:
        runs = database.execute(
            "SELECT value, run_uuid FROM runs JOIN tags USING (run_uuid)"
            " WHERE lifecycle_stage = 'active' AND key = 'job_key'"
        ).fetchall()
        queries = [
            f"SELECT {columns} WHERE run_uuid = ? ORDER BY 1, 2"
            for columns in ("key, value FROM params", "key, step, value FROM metrics")
        ]
        found = {key: (run, *(database.execute(q, [run]).fetchall() for q in queries)) for key, run in runs}
    assert len(found) == len(runs)
    return found


def test_sixteen_processes_at_once_on_a_fresh_store(study: Path, tmp_path: Path) -> None:
    """Four studies, each brought in by four processes: every run, parameter and value is there once, and
    stays so after a rerun and after the folder was moved."""
    results = tmp_path / "results"
    roots = [Path(shutil.copytree(study, results / f"study{n}")) for n in range(4)]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow", "camground.tracking.ingest"])  # once, and not in each
    barrier = context.Barrier(16)
    jobs = [context.Process(target=_bring_in, args=(str(roots[n % 4]), barrier)) for n in range(16)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(600)
    assert [job.exitcode for job in jobs] == [0] * 16
    found = contents(results)
    names = {"ablation", "matcher/s0", "matcher/s1"}
    names |= {
        f"{method}{seed}" for method in ("train/full", "baselines/random") for seed in ("", "/s0", "/s1")
    }
    assert found.keys() == {f"{root.name}/{name}" for root in roots for name in names}
    for name, (_, params, values) in found.items():
        if "/matcher/" in name or "/train/full/" in name:
            assert ("seed", name[-1]) in params
            steps = [step for key, step, _ in values if key == "train/loss"]
            assert steps == [20 * epoch for epoch in range(1, 9)]
        assert len(values) == len({(key, step) for key, step, _ in values})

    assert bring_in(roots[0], ("full",))["created"] == 0
    assert contents(results) == found
    moved = Path(shutil.copytree(results, tmp_path / "moved"))
    shutil.rmtree(results)
    assert bring_in(moved / "study3", ("full",))["created"] == 0
    assert contents(moved) == found
    assert not results.exists()


def test_a_results_folder_of_any_name(study: Path, tmp_path: Path) -> None:
    results = tmp_path / "what?now" / "a%20b #1&x=2"
    done = bring_in(Path(shutil.copytree(study, results / "toy")), ("full",), log_model=True)
    assert find_store(results, find_store(results).uri) == find_store(results)
    assert {file.name for file in results.iterdir()} == {"toy", "mlflow.db", "mlartifacts", ".mlflow.db.lock"}
    assert [file.name for file in tmp_path.iterdir()] == ["what?now"]
    assert is_whole(written(done, results), find_store(results))
    client = connect(find_store(results))
    csv = client.download_artifacts(done["runs"]["toy/ablation"], "ablation.csv", str(tmp_path))
    assert Path(csv).read_bytes() == (results / "toy" / "ablation.csv").read_bytes()


def written(done: dict, results: Path) -> Path:
    """The file that the stage makes of what `bring_in` did."""
    file = results / "tracking.json"
    file.write_text(json.dumps(done))
    return file


def test_the_headline_model_is_of_its_seeds_run_and_under_an_alias(root: Path) -> None:
    done = bring_in(root, log_model=True)
    client = connect(find_store(root.parent))
    assert done["registered"] == "models:/toy-detected@headline"
    version = client.get_model_version_by_alias("toy-detected", "headline")
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    run = live_runs(root.parent)["toy/train/full/s1"]  # the seed of the better score
    assert done["model"] == f"models:/{model.model_id}"
    assert model.source_run_id == run.info.run_id
    assert run.inputs.dataset_inputs
    files = {item.path for item in client.list_logged_model_artifacts(model.model_id)}
    assert {"input_example.json", "serving_input_example.json", "MLmodel"} <= files
    # nothing new is nothing new: the same version
    bring_in(root, log_model=True)
    assert client.get_model_version_by_alias("toy-detected", "headline").version == version.version


def test_a_run_has_25_metrics_at_most_and_every_test_split(tmp_path: Path) -> None:
    splits = ("train", "val", "testA", "testB")
    root = fake_study.make(tmp_path / "results" / "toy", images=8, per_image=2, splits=splits)
    folder = root / "benchmarks"
    folder.mkdir()
    (folder / "train-full-seed0.tsv").write_text(
        "s\th:m:s\tmax_rss\tmean_load\tcpu_time\n12.5\t0:00:12\t900.1\t97.3\tNA\n"
    )
    bring_in(root)
    runs = live_runs(root.parent)
    assert max(len(run.data.metrics) for run in runs.values()) <= 25
    for split in splits[1:]:
        assert f"{split}/acc_0.5" in runs["toy/train/full/s0"].data.metrics
        assert f"{split}/acc_0.5/full" in runs["toy/ablation"].data.metrics
    metrics = runs["toy/train/full/s0"].data.metrics
    system = {name: value for name, value in metrics.items() if name.startswith("system/")}
    assert system == {
        "system/seconds": 12.5,
        "system/max_rss_megabytes": 900.1,
        "system/cpu_utilization_percentage": 97.3,
    }
    # what a job took is no result: a rerun of the same content changes no run
    (folder / "train-full-seed0.tsv").unlink()
    assert bring_in(root)["created"] == 0


def test_what_is_gone_from_the_store_is_noticed_and_comes_back(root: Path) -> None:
    results = root.parent

    def bring() -> tuple[Path, dict]:
        done = bring_in(root, ("full",), log_model=True)
        return written(done, results), done

    file, done = bring()
    store = find_store(results)
    assert is_whole(file, store)
    everything = {path.name for path in (results / "mlartifacts").rglob("*") if path.is_file()}

    def lost_then_back() -> None:
        assert not is_whole(file, store)
        _, again = bring()
        assert is_whole(file, store)
        assert again["runs"].keys() == done["runs"].keys() == live_runs(results).keys()
        assert {p.name for p in (results / "mlartifacts").rglob("*") if p.is_file()} == everything
        assert bring()[1]["created"] == 0

    shutil.rmtree(results / "mlartifacts")
    lost_then_back()
    # the newest of each: MLflow keeps what superseded runs and models had
    max((results / "mlartifacts").rglob("ablation.csv"), key=lambda path: path.stat().st_mtime).unlink()
    lost_then_back()
    max((results / "mlartifacts").rglob("MLmodel"), key=lambda path: path.stat().st_mtime).unlink()
    lost_then_back()
    connect(store).delete_run(live_runs(results)["toy/train/full/s0"].info.run_id)
    lost_then_back()
    # elsewhere, for this process has the database open
    copy = Path(shutil.copytree(results, results.parent / "copy"))
    (copy / "mlflow.db").unlink()
    assert not is_whole(copy / "tracking.json", find_store(copy))
    again = bring_in(copy / "toy", ("full",), log_model=True)
    assert is_whole(written(again, copy), find_store(copy))
    assert live_runs(copy).keys() == done["runs"].keys()


def test_an_artifact_that_was_cut_short_is_written_again(root: Path) -> None:
    bring_in(root, ("full",))
    next((root.parent / "mlartifacts").rglob("ablation.csv")).write_text("")
    assert bring_in(root, ("full",))["created"] == 1


# Holds the database for so many seconds.
HOLDER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def hold(database: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(database), str(seconds)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_store_that_is_locked_for_a_while_is_waited_for(root: Path) -> None:
    bring_in(root, ("full",))
    (root / "full" / "seed0" / "train" / "summary.json").write_text("{}")
    # MLflow's own patience is 5 s
    with hold(root.parent / "mlflow.db", 8):
        assert bring_in(root, ("full",))["created"] == 1


def test_a_store_that_stays_locked_is_no_reason_to_delete_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_in(root, ("full",))
    monkeypatch.setattr("camground.tracking.store.PATIENCE", 1)
    with hold(root.parent / "mlflow.db", 1000) as holder:
        with pytest.raises(UserError) as caught:
            bring_in(root, ("full",))
        holder.kill()
    assert "another program has held it locked for 1 s; wait for it or end it" in str(caught.value)
    assert not re.search("delete|away|upgrade", str(caught.value))


def test_a_study_becomes_parents_children_params_curves_and_inputs(root: Path) -> None:
    done = bring_in(root)
    runs = live_runs(root.parent)
    # 2 matchers, ablation, and for 2 variants and 1 baseline a parent with 2 seeds
    assert done["created"] == len(runs) == 2 + 1 + 3 * (1 + 2)
    child, parent = runs["toy/train/full/s1"], runs["toy/train/full"]
    assert child.info.run_name == "train/full/s1"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    wanted = {"stage": "train", "variant": "full", "seed": "1"}
    assert wanted.items() <= child.data.tags.items()
    assert "test_deviation/acc_0.5" in parent.data.metrics
    assert "test_difference/acc_0.5" in runs["toy/train/baseline"].data.metrics
    assert {"git_sha", "config_sha"} <= child.data.tags.keys()
    assert child.data.params["grounder.cam_encoder.enabled"] == "true"
    written = tables.read("metrics", root / "full" / "seed1" / "metrics.parquet")
    rows = written[(written["split"] == "test") & (written["metric"] == "acc@0.5")]
    values = dict(zip(rows["group"], rows["value"], strict=True))
    assert child.data.metrics["test/acc_0.5"] == pytest.approx(values["all"])
    # the rest is in the artifacts
    shown = {name.partition("/")[2] for name in child.data.metrics if name.startswith("test/")}
    assert shown <= {records.mlflow_name(name) for name in MAIN}
    curve = connect(find_store(root.parent)).get_metric_history(child.info.run_id, "train/loss")
    assert [point.step for point in curve] == [20 * epoch for epoch in range(1, 9)]
    inputs = {
        entry.dataset.name: (entry.dataset.digest, entry.tags[0].value)
        for entry in child.inputs.dataset_inputs
    }
    digest = file_digest(root / "data" / "images.parquet")
    assert inputs["toy/images"] == (digest, "training")
    assert inputs["toy/targets"][1] == "evaluation"
    assert [name for name, (_, use) in inputs.items() if use == "evaluation"] == ["toy/targets"]


def test_nothing_changed_writes_nothing_and_a_rerun_supersedes(root: Path) -> None:
    bring_in(root)
    before = live_runs(root.parent)
    assert bring_in(root)["created"] == 0

    path = root / "full" / "seed0" / "metrics.parquet"
    metrics = tables.read("metrics", path)
    chosen = (metrics["metric"] == "acc@0.5") & (metrics["split"] == "test")
    metrics.loc[chosen & (metrics["group"] == "all"), "value"] = 0.123
    tables.write("metrics", metrics, path)
    assert bring_in(root)["created"] == 1
    after = live_runs(root.parent)
    assert after.keys() == before.keys()
    key = "toy/train/full/s0"
    assert after[key].data.metrics["test/acc_0.5"] == pytest.approx(0.123)
    assert after[key].info.run_id != before[key].info.run_id
    same = [k for k in after if k != key and after[k].info.run_id == before[k].info.run_id]
    assert len(same) == len(after) - 1


def test_a_variant_taken_out_of_the_config_leaves_the_store(root: Path) -> None:
    bring_in(root)
    assert bring_in(root, ("full",))["removed"] == 3
    assert not any("/baseline" in key.removeprefix("toy/baselines") for key in live_runs(root.parent))


def test_artifacts_survive_moving_the_folder(root: Path, tmp_path: Path) -> None:
    report = root / "report.html"
    report.write_text("<p>report</p>")
    # In a process of its own: SQLite forbids renaming a database that is open.
    config = {**fake_study.CONFIG, **SECTIONS, "variants": ["full"], "baselines": ["random"]}
    config |= {"tracking": {"log_model": False}, "ablation": {}, "evaluate": {"splits": ["val", "test"]}}
    command = [sys.executable, "-m", "camground.cli", "tracking", "--config", json.dumps(config)]
    command += ["--root", str(root), "--report", str(report)]
    subprocess.run([*command, "--output", str(root / "tracking.json")], check=True)
    moved = tmp_path / "elsewhere" / "moved results"
    moved.parent.mkdir()
    root.parent.rename(moved)
    run = live_runs(moved)["toy/ablation"]
    assert str(tmp_path) not in run.info.artifact_uri
    client = connect(find_store(moved))
    paths = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"ablation.parquet", "ablation.csv", "ablation.md", "ablation.json", "report.html"} <= paths
    copy = client.download_artifacts(run.info.run_id, "report.html", str(tmp_path))
    assert Path(copy).read_text() == "<p>report</p>"
    assert not root.parent.exists()
    assert not (tmp_path / "mlruns").exists()


def test_no_path_of_this_machine_in_the_store(root: Path, tmp_path: Path) -> None:
    done = bring_in(root)
    assert str(tmp_path) not in json.dumps(done)
    assert str(tmp_path).encode() not in (root.parent / "mlflow.db").read_bytes()


def test_a_missing_file_is_named(root: Path) -> None:
    (root / "full" / "seed1" / "metrics.parquet").unlink()
    with pytest.raises(UserError, match=r"full/seed1/metrics\.parquet"):
        bring_in(root)


def test_the_environment_overrides_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_store("r").database == Path("r/mlflow.db").resolve()
    assert find_store("r", "sqlite:///other/x.db").database == Path("other/x.db").resolve()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@host:5000/base")
    store = find_store("r", "sqlite:///other/x.db")
    assert store.database is None
    assert store.public_name == "https://host:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://host")
    with pytest.raises(UserError, match="ftp"):
        find_store("r")


def test_the_store_may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    own = tmp_path / "me" / "my runs.db"
    assert find_store("r", "sqlite:///~/my%20runs.db").database == own
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///~/other.db")
    assert find_store("r").database == own.with_name("other.db")


def test_a_store_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match=r"mlflow\.db: not usable"):
        connect(find_store(tmp_path))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 cannot be reached"):
        connect(find_store(tmp_path))


def test_params_are_flat_and_within_the_limits_of_mlflow() -> None:
    flat = records.flatten({"a": {"b+": [1, 2], "c": {}}, "d": "x" * 9000, "e": None, "f": "text"})
    assert flat["a.b_plus"] == "[1, 2]"
    assert flat["a.c"] == "{}"
    assert flat["e"] == "null"
    assert flat["f"] == "text"
    assert len(flat["d"]) == records.MAX_PARAM_LENGTH
    assert config_digest({"a": 1, "b": 2}) == config_digest({"b": 2, "a": 1})


def test_outside_git_the_sha_is_unknown(tmp_path: Path) -> None:
    assert git_sha(tmp_path) == "unknown"


def test_the_headline_seed_is_chosen_by_captions(root: Path) -> None:
    # the invented best_score grows with the seed
    assert records.headline_seed(study_in(root)) == 1


def test_the_headline_model_loads_with_its_signature(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipeline:
        @classmethod
        def from_pretrained(cls, folder: str) -> Pipeline:
            pipeline = cls()
            weights = Path(folder) / "grounder" / "checkpoint.safetensors"
            pipeline.score = float(weights.stat().st_size)
            return pipeline

        def __call__(self, photograph: Path, texts: list[str]) -> list[dict[str, Any]]:
            if not photograph.exists():
                raise UserError(f"{photograph}: no such photograph")
            if photograph.read_bytes() == b"bomb":
                raise RuntimeError(f"secret of {photograph}")
            box = {"xmin": 0.0, "ymin": 0.0, "xmax": 1.0, "ymax": float(photograph.read_bytes() == b"b")}
            return [{"label": text, "score": self.score, "box": box} for text in texts]

    module = types.ModuleType("camground.pipeline")
    module.GroundingPipeline = Pipeline  # type: ignore[attr-defined]
    done = bring_in(root, log_model=True)
    assert bring_in(root, log_model=True)["model"] == done["model"]

    import mlflow

    monkeypatch.setitem(sys.modules, "camground.pipeline", module)
    model = mlflow.pyfunc.load_model(done["model"])
    assert model.metadata.signature.inputs.input_names() == ["image", "image_path", "text"]
    assert model.metadata.signature.outputs.input_names() == ["x1", "y1", "x2", "y2", "score", "error"]
    pictures, texts = [b"a", b"b", b"a"], ["a cat", "a dog", "a hat"]
    answers = model.predict(pd.DataFrame({"image": pictures, "text": texts}))
    assert answers["score"].tolist() == [500.0] * 3
    assert answers["y2"].tolist() == [0.0, 1.0, 0.0]
    assert answers["error"].tolist() == [None] * 3
    # what one row lacks is that row's error; order, count and the other answers stay
    (root / "b.png").write_bytes(b"b")
    (root / "a.png").write_bytes(b"a")
    (root.parent / "secret.png").write_bytes(b"b")
    paths = ["b.png", None, "absent.png", "a.png", "a.png", "", "b.png"]
    frame = pd.DataFrame({"image_path": paths[:1], "text": ["a cat"]})
    assert "no file is opened here" in model.predict(frame)["error"][0]
    monkeypatch.setenv("CAMGROUND_IMAGES", str(root))
    assert model.predict(frame)["y2"].tolist() == [1.0]
    for outside in ("../secret.png", str(root.parent / "secret.png")):
        frame = pd.DataFrame({"image_path": [outside], "text": ["a cat"]})
        assert model.predict(frame)["error"].tolist() == [
            f"image_path {outside}: outside the folder that is served"
        ]
    frame = pd.DataFrame({"image": [b"bomb"], "text": ["a cat"]})
    assert model.predict(frame)["error"].tolist() == ["internal error; the server's log has it"]
    texts = ["a cat", "a dog", "a hat", None, "a cow", "a pig", " "]
    frame = pd.DataFrame({"image_path": paths, "text": texts}, index=[7, 7, 3, 2, 1, 0, 9])
    answers = model.predict(frame)
    assert answers["score"].tolist() == [500.0, None, None, None, 500.0, None, None]
    assert answers["y2"].tolist()[::4] == [1.0, 0.0]
    problems = [
        "image: missing",
        "image_path absent.png: no such photograph",
        "text: missing, or without a word",
    ]
    assert answers["error"].tolist() == [None, *problems, None, problems[0], problems[2]]
    json.dumps(answers.to_dict("records"), allow_nan=False)
    assert model.predict(frame[:0]).empty
    assert list(model.predict(frame[:0])) == list(answers)


def test_the_served_model_requires_what_the_package_does(repository: Path) -> None:
    listed = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split(r"[^\w.-]", name)[0] for name in listed} == set(REQUIREMENTS)


def test_pages_need_a_store_and_a_free_port(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run snakemake first"):
        serve(tmp_path, "127.0.0.1", 0)
    (tmp_path / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} of 127"):
            serve(tmp_path, "127.0.0.1", port)


def test_the_link_leads_to_the_training_runs_with_accuracy_in_sight(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_in(root)
    (link,) = training_runs(root.parent / "mlflow.db").values()
    experiment = connect(find_store(root.parent)).get_experiment_by_name("toy-detected")
    key = re.fullmatch(
        rf"#/experiments/{experiment.experiment_id}/runs\?viewStateShareKey=(\w+)&workflowType=machine_learning",
        link,
    )
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{key[1]}"])
    assert view["orderByKey"] == view["selectedColumns"][0] == "metrics.`test/acc_0.5`"
    shown = {name for run in live_runs(root.parent).values() for name in run.data.metrics}
    assert {column.split("`")[1] for column in view["selectedColumns"]} <= shown
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        if sys.platform == "linux":
            assert not open_once_served("127.0.0.1", port, link)
        monkeypatch.setenv("DISPLAY", ":0")
        assert open_once_served("127.0.0.1", port, link)
    assert opened == [link]


def test_an_artifact_address_stays_in_the_folder(root: Path) -> None:
    bring_in(root, ("full",))
    store = find_store(root.parent)
    assert repository("mlflow-artifacts:/toy/run", store.uri).artifact_dir.startswith(str(store.artifacts))
    with pytest.raises(UserError, match="points outside"):
        repository("mlflow-artifacts:/../../secret", store.uri)
    assert (
        type(repository("mlflow-artifacts:/toy/run", "http://127.0.0.1:9")).__name__
        == "MlflowArtifactsRepository"
    )
