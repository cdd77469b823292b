"""Sources fetched: unpacked, locked on first use, by hand; the table's rows; the rule's jobs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from camground.data.download.fetch import fetch
from camground.data.download.sources import TABLE, Source, read_sources
from camground.data.download.unpack import archive_problem
from camground.stages.download import download
from camground.study.errors import UserError
from conftest import Workflow
from file_server import QUICK, Server, sha256, zipped

ARCHIVE = zipped(set__data__json="{}", set__refs="1")


def source(*addresses: str, **other: Any) -> Source:
    row = {
        **{"name": "set", "what": "a set", "licence": "none", "addresses": addresses},
        **{"file": "set.zip", "unpack": True, "folder": "sets/set", "top": "set", "proof": "data/json"},
        **other,
    }
    return Source(**row)


def test_fetched_unpacked_locked_and_receipted(server: Server, tmp_path: Path) -> None:
    one = source(server.add("/set.zip", content=ARCHIVE))
    receipt = fetch(one, tmp_path, QUICK)
    assert (tmp_path / "sets/set/data/json").read_text() == "{}"
    assert json.loads(receipt.read_text())["folder"] == "sets/set"
    row = json.loads((tmp_path / "downloads/lock.json").read_text())["set"]
    assert (row["sha256"], row["bytes"]) == (sha256(ARCHIVE), len(ARCHIVE))
    assert row["address"] == one.addresses[0]
    # a second run asks nobody, and the archive is not needed
    (tmp_path / "downloads/set.zip").unlink()
    asked, before = server.pages["/set.zip"].asked, receipt.read_bytes()
    fetch(one, tmp_path, QUICK)
    assert len(asked) == 1
    assert receipt.read_bytes() == before


def test_changed_bytes_are_refused_after_the_first_use(server: Server, tmp_path: Path) -> None:
    one = source(server.add("/set.zip", content=ARCHIVE))
    fetch(one, tmp_path, QUICK)
    lock = (tmp_path / "downloads/lock.json").read_text()
    (tmp_path / "downloads/set.zip").unlink()
    (tmp_path / "downloads/set.json").unlink()
    (tmp_path / "sets/set").rename(tmp_path / "gone")
    changed = zipped(set__data__json="{}", set__refs="2")
    assert len(changed) == len(ARCHIVE)
    server.add("/set.zip", content=changed)
    with pytest.raises(UserError, match=r"(?s)its sha256 is .*delete 'set' from .*lock\.json"):
        fetch(one, tmp_path, QUICK)
    assert not (tmp_path / "sets/set").exists()
    assert not (tmp_path / "downloads/set.json").exists()
    assert not list((tmp_path / "downloads").glob("set.zip*"))
    assert (tmp_path / "downloads/lock.json").read_text() == lock
    # the same put there by hand
    (tmp_path / "downloads/set.zip").write_bytes(changed)
    with pytest.raises(UserError, match=r"(?s)set\.zip: its sha256 is .*delete 'set' from"):
        fetch(one, tmp_path, QUICK)
    (tmp_path / "downloads/set.zip").write_bytes(ARCHIVE)
    fetch(one, tmp_path, QUICK)
    assert (tmp_path / "sets/set/data/refs").exists() is False
    assert (tmp_path / "sets/set/refs").read_text() == "1"


def test_an_error_page_is_no_first_use(server: Server, tmp_path: Path) -> None:
    page = server.add("/set.zip", content=b"<html>The archive is busy</html>")
    with pytest.raises(UserError, match="a web page, not an archive"):
        fetch(source(page), tmp_path, QUICK)
    assert not (tmp_path / "downloads/lock.json").exists()
    assert not list((tmp_path / "downloads").glob("set.zip*"))
    good = server.add("/mirror.zip", content=ARCHIVE)
    fetch(source(page, good), tmp_path, QUICK)
    assert json.loads((tmp_path / "downloads/lock.json").read_text())["set"]["address"] == good


def test_an_archive_of_something_else_leaves_no_folder(server: Server, tmp_path: Path) -> None:
    address = server.add("/set.zip", content=zipped(other="1"))
    with pytest.raises(UserError, match=r"holds no data/json, .* at its top: other"):
        fetch(source(address), tmp_path, QUICK)
    assert list((tmp_path / "sets").iterdir()) == []
    assert not (tmp_path / "downloads/set.json").exists()


def test_a_refused_archive_is_neither_kept_nor_remembered(server: Server, tmp_path: Path) -> None:
    """Or the good one, of another digest, would be what is refused later on."""
    bad = zipped(set__data__json="{}", set__refs="1").replace(b"set/refs", b"../refs_")
    one = source(server.add("/set.zip", content=bad))
    with pytest.raises(UserError, match=r"leads out of the folder.*it came from .* was deleted"):
        fetch(one, tmp_path, QUICK)
    assert not list(tmp_path.rglob("*refs*"))
    assert not list((tmp_path / "downloads").glob("[!.]*"))
    # put there by hand it is its owner's
    (tmp_path / "downloads/set.zip").write_bytes(bad)
    with pytest.raises(UserError, match="leads out of the folder"):
        fetch(one, tmp_path, QUICK)
    (tmp_path / "downloads/set.zip").unlink()
    server.add("/set.zip", content=ARCHIVE)
    fetch(one, tmp_path, QUICK)
    assert (tmp_path / "sets/set/data/json").exists()


def test_a_plain_file_goes_to_its_folder(server: Server, tmp_path: Path) -> None:
    address = server.add("/train.txt", content=b"1\n2\n")
    one = source(address, file="train.txt", unpack=False, proof="train.txt", top=None)
    fetch(one, tmp_path, QUICK)
    assert (tmp_path / "sets/set/train.txt").read_bytes() == b"1\n2\n"


def test_by_hand_says_what_to_do_and_takes_what_is_put_there(tmp_path: Path) -> None:
    message = "Fill in the form, put {archive} there, or the files into {folder}."
    one = source(by_hand=message)
    archive, folder = tmp_path / "downloads/set.zip", tmp_path / "sets/set"
    words = f"Fill in the form, put {archive} there, or the files into {folder}."
    with pytest.raises(UserError, match=re.escape(words)):
        fetch(one, tmp_path, QUICK)
    assert not (tmp_path / "downloads/set.json").exists()
    archive.write_bytes(ARCHIVE)
    fetch(one, tmp_path, QUICK)
    assert (folder / "data/json").exists()


def test_data_that_is_there_is_taken_as_it_is(server: Server, tmp_path: Path) -> None:
    one = source(server.add("/set.zip", content=ARCHIVE))
    (tmp_path / "sets/set/data").mkdir(parents=True)
    (tmp_path / "sets/set/data/json").write_text("mine")
    fetch(one, tmp_path, QUICK)
    assert (tmp_path / "sets/set/data/json").read_text() == "mine"
    assert server.pages["/set.zip"].asked == []


def test_a_broken_lock_table_is_named(server: Server, tmp_path: Path) -> None:
    one = source(server.add("/set.zip", content=ARCHIVE))
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/lock.json").write_text('{"set": {"bytes": 1}}')
    with pytest.raises(UserError, match=r"lock\.json: not a readable lock table"):
        fetch(one, tmp_path, QUICK)


def test_two_at_once_download_once(server: Server, tmp_path: Path) -> None:
    one = source(server.add("/set.zip", content=ARCHIVE))
    threads = [threading.Thread(target=fetch, args=(one, tmp_path, QUICK)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "sets/set/data/json").exists()
    assert len(server.pages["/set.zip"].asked) == 1


# The table


def test_the_table_has_what_the_data_sets_need() -> None:
    table = read_sources()
    assert set(table.sets) == {"refcoco", "refcoco+", "refcocog", "refclef", "flickr30k"}
    for name in ("refcoco", "refcoco+", "refcocog", "refclef", "saiapr_tc-12"):
        first, second = table[name].addresses
        assert re.search(r"/web/\d{14}id_/https?://", first)
        assert second == first.replace("id_/", "/")
    for name in ("flickr30k_images",):
        message = table[name].by_hand.format(archive="A", folder="F")
        assert "form" in message
        assert "{" not in message
    with pytest.raises(UserError, match="no source 'refcoc'; there are refcoco,"):
        table["refcoc"]
    assert table.needed("scenes") == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "abc"}, "sources.refcoco.sha256: must match ^[0-9a-f]{64}$, not 'abc'"),
        ({"bytes": "many"}, "sources.refcoco.bytes: must be a whole number, not 'many'"),
        ({"size": 3}, "sources.refcoco.size: unknown key"),
        ({"licence": None}, "sources.refcoco.licence: must be text"),
        ({"folder": "../out"}, "leads out of the folder"),
        ({"addresses": []}, "by_hand"),
        ({"addresses": ["file:///etc/passwd"]}, "addresses.0: must match ^https?://"),
        ({"folder": "refcoco+"}, "share the folder refcoco+"),
        ({"file": "refcoco+.zip"}, "two archives have the same file name"),
    ],
)
def test_a_wrong_row_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    content = yaml.safe_load(TABLE.read_text())
    content["sources"]["refcoco"] |= change
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=re.escape(message)):
        read_sources(path)


def test_a_table_of_mirrors_is_laid_over_the_own(tmp_path: Path) -> None:
    path = tmp_path / "mirrors.yaml"
    path.write_text("sources: {refcoco: {addresses: ['http://mirror.example/r.zip'], sha256: null}}")
    own, laid = read_sources(), read_sources(path)
    assert laid["refcoco"].addresses == ("http://mirror.example/r.zip",)
    assert (laid["refcoco"].sha256, laid["refcoco"].bytes) == (None, own["refcoco"].bytes)
    assert laid["coco_train2014"] == own["coco_train2014"]
    assert laid.sets == own.sets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sources: {refcoko: {addresses: ['http://mirror.example/r.zip']}}",
            "sources.refcoko.licence: field required",
        ),
        ("sources: {refcoco: 'http://mirror.example/r.zip'}", "sources.refcoco: must hold keys"),
        ("refcoco: {addresses: []}", "must hold `sources`"),
        ("sources: {}\nmirrors: {}", "mirrors: unknown key"),
        ("sources: {}\nsets: 3", "sets: must hold keys"),
        ("sources: {}\nsets: {mine: [none]}", "sets.mine names unknown sources ['none']"),
        ("sources: {refcoco: {address: x}}", "refcoco.address: unknown key; did you mean `addresses`?"),
    ],
)
def test_a_wrong_table_of_mirrors_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mirrors.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read_sources(path)
    assert str(path) in str(caught.value)


def test_a_wrong_table_of_mirrors_stops_before_any_job(workflow: Workflow, tmp_path: Path) -> None:
    where = f"sources={tmp_path / 'none.yaml'}"
    run = workflow.dry("--configfile", "configs/refcoco.yaml", "--config", where)
    assert run.status != 0
    assert "none.yaml: not a readable table of sources" in run.text
    assert "Traceback" not in run.text


@pytest.fixture
def own_table(server: Server, tmp_path: Path) -> Callable[[], Path]:
    """The packaged table with the two sources of RefCOCO at the local server."""

    def make() -> Path:
        content = yaml.safe_load(TABLE.read_text())
        pictures = zipped(train2014__COCO_train2014_1__jpg="x").replace(b"_1/jpg", b"_1.jpg")
        refs = zipped(refcoco__instances="{}").replace(b"instances", b"inst.json")
        for name, made in (("refcoco", refs), ("coco_train2014", pictures)):
            row = content["sources"][name]
            row["addresses"] = [server.add(f"/{name}", content=made)]
            for key in ("bytes", "sha256", "md5"):
                row[key] = None
        content["sources"]["refcoco"]["proof"] = "inst.json"
        path = tmp_path / "own.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return make


def test_the_stage_brings_a_data_set(own_table: Callable[[], Path], tmp_path: Path) -> None:
    root = tmp_path / "root"
    download(dataset="refcoco", root=root, sources=own_table())
    assert (root / "refcoco/inst.json").exists()
    assert (root / "images/mscoco/images/train2014/COCO_train2014_1.jpg").exists()
    assert {"refcoco.json", "coco_train2014.json", "lock.json"} <= {
        path.name for path in (root / "downloads").iterdir()
    }


def test_the_stage_names_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(UserError, match="no data set 'coco'; there are refcoco,"):
        download(dataset="coco", root=tmp_path)
    with pytest.raises(UserError, match="name a source"):
        download(root=tmp_path)
    download(list_sources=True)
    assert "coco_train2014" in capsys.readouterr().out


def test_the_command_line(tmp_path: Path, own_table: Callable[[], Path]) -> None:
    def camground_download(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "camground.cli", "download", "--root", str(tmp_path)]
        mirrors = {**os.environ, "CAMGROUND_SOURCES": str(own_table()), "HF_HUB_OFFLINE": "1"}
        return subprocess.run([*command, *arguments], capture_output=True, text=True, env=mirrors)

    done = camground_download("flickr30k_images")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "lmms-lab/flickr30k of the hub is not used: " in done.stderr
    assert str(tmp_path / "downloads/flickr30k-images.tar.gz") in done.stderr
    assert str(tmp_path / "flickr30k_entities/flickr30k-images") in done.stderr
    done = camground_download("refcoco")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "refcoco/inst.json").exists()


def test_an_archive_is_told_from_what_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    for content, message in (
        (ARCHIVE, None),
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html>", "it is a web page, not an archive"),
        (ARCHIVE[: len(ARCHIVE) // 2], "it is no whole zip or tar archive"),
    ):
        path.write_bytes(content)
        assert archive_problem(path) == message


# The rule


@pytest.mark.parametrize("study", ["smoke", "photos"])
def test_scenes_and_folders_download_nothing(study: str, workflow: Workflow, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "captions.csv").write_text("image,caption\n")
    run = workflow.dry("--configfile", f"configs/{study}.yaml", "--config", f"data_root={tmp_path}")
    assert run.status == 0, run.text
    assert "data" in run.jobs
    assert "download" not in run.jobs


@pytest.mark.parametrize("study", ["refcoco", "referit", "flickr30k"])
def test_a_benchmark_downloads_what_it_needs(study: str, workflow: Workflow, tmp_path: Path) -> None:
    run = workflow.dry("--configfile", f"configs/{study}.yaml", "--config", f"data_root={tmp_path}")
    assert run.status == 0, run.text
    dataset = {"referit": "refclef"}.get(study, study)
    assert run.jobs["download"] == len(read_sources().needed(dataset))


def test_photographs_elsewhere_are_not_downloaded(workflow: Workflow, tmp_path: Path) -> None:
    own = ("--config", f"data_root={tmp_path}", "data={refer: {images: mine}}")
    run = workflow.dry("--configfile", "configs/refcoco.yaml", *own)
    assert run.status == 0, run.text
    assert run.jobs["download"] == 1
    assert "Source refcoco:" in run.text
