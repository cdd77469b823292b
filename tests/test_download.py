"""Downloads against a local server that breaks off, lies, errs, redirects, and knows ranges or not."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from camground.data import fetch as stage
from camground.data.download import PIECE, Patience, Wanted, digests, download
from camground.data.fetch import fetch, main
from camground.data.sources import TABLE, Source, read_sources
from camground.data.unpack import problem
from camground.errors import UserError
from conftest import Workflow

QUICK = Patience(attempts=3, backoff=0.001, longest=0.01, timeout=5)
CONTENT = np.random.default_rng(0).bytes(40 * PIECE + 17)
HALF = 20 * PIECE


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/"), text)
    return buffer.getvalue()


@dataclass
class Page:
    """How the server answers at one path; `breaks` holds the bytes after which answers break off."""

    content: bytes = CONTENT
    statuses: list[int] = field(default_factory=list)
    location: str = ""
    ranges: bool = True
    tag: str = '"v1"'
    breaks: list[int] = field(default_factory=list)
    length: bool = True
    heeds_if_range: bool = True
    first_byte: int = 0  # added to where a range starts
    asked: list[str] = field(default_factory=list)  # Range headers, "" for none
    sent: int = 0


class Server:
    """Pages by path, on a port of this machine."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments: Any) -> None:
                pass

            def do_GET(self) -> None:
                page = pages.get(self.path)
                if page is None:
                    return self.send_error(404)
                asked = self.headers.get("Range", "")
                page.asked.append(asked)
                if page.location:
                    self.send_response(302)
                    self.send_header("Location", page.location)
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                if page.statuses:
                    return self.send_error(page.statuses.pop(0))
                total = len(page.content)
                version = self.headers.get("If-Range", page.tag)
                start = 0
                if asked and page.ranges and (version == page.tag or not page.heeds_if_range):
                    start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) + page.first_byte
                    if start >= total:
                        self.send_response(416)
                        self.send_header("Content-Range", f"bytes */{total}")
                        self.send_header("Content-Length", "0")
                        return self.end_headers()
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
                else:
                    self.send_response(200)
                if page.tag:
                    self.send_header("ETag", page.tag)
                if page.length:
                    self.send_header("Content-Length", str(total - start))
                self.end_headers()
                end = start + page.breaks.pop(0) if page.breaks else total
                self.wfile.write(page.content[start:end])
                page.sent += min(end, total) - start

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, path: str, **how: Any) -> str:
        """A page at `path`; its address."""
        self.pages[path] = Page(**how)
        return self.address(path)

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}{path}"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "got" / "file.bin"


KNOWN = Wanted(len(CONTENT), {"sha256": sha256(CONTENT)})


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_whole_file_under_its_name_and_nothing_else(server: Server, target: Path) -> None:
    address = server.add("/file")
    assert download((address,), target, KNOWN, QUICK) == address
    assert target.read_bytes() == CONTENT
    assert left(target) == ["file.bin"]


@pytest.mark.parametrize("known", [KNOWN, Wanted()])
def test_a_break_is_gone_on_from(server: Server, target: Path, known: Wanted) -> None:
    address = server.add("/file", breaks=[HALF, 3 * PIECE])
    download((address,), target, known, QUICK)
    assert target.read_bytes() == CONTENT
    page = server.pages["/file"]
    assert page.asked == ["", f"bytes={HALF}-", f"bytes={HALF + 3 * PIECE}-"]
    assert page.sent == len(CONTENT)


def test_an_interrupted_run_goes_on_with_only_the_rest(server: Server, target: Path) -> None:
    address = server.add("/file", breaks=[HALF, *[0] * 9])
    with pytest.raises(UserError, match="gave up after 3 attempts in a row"):
        download((address,), target, Wanted(), QUICK)
    assert left(target) == ["file.bin.part", "file.bin.part.json"]
    page = server.pages["/file"]
    page.breaks, before = [], page.sent
    download((address,), target, Wanted(), QUICK)
    assert target.read_bytes() == CONTENT
    assert page.sent - before == len(CONTENT) - HALF
    assert left(target) == ["file.bin"]


def test_a_server_without_ranges_starts_again(server: Server, target: Path) -> None:
    address = server.add("/file", ranges=False, breaks=[HALF])
    download((address,), target, KNOWN, QUICK)
    assert target.read_bytes() == CONTENT
    page = server.pages["/file"]
    assert page.asked == ["", f"bytes={HALF}-"]
    assert page.sent == HALF + len(CONTENT)


def test_a_server_that_always_breaks_off_gives_way_to_the_next(
    server: Server, target: Path
) -> None:
    bad = server.add("/bad", ranges=False, breaks=[HALF] * 50)
    good = server.add("/good")
    assert download((bad, good), target, Wanted(), QUICK) == good
    assert target.read_bytes() == CONTENT
    assert server.pages["/bad"].sent == 4 * HALF
    # bytes of another address are not gone on from while nothing can prove the whole
    assert server.pages["/good"].asked == [""]


def test_a_known_digest_lets_the_next_mirror_go_on(server: Server, target: Path) -> None:
    bad = server.add("/bad", breaks=[HALF, *[0] * 9])
    good = server.add("/good", tag='"other"')
    assert download((bad, good), target, KNOWN, QUICK) == good
    assert target.read_bytes() == CONTENT
    assert server.pages["/good"].sent == len(CONTENT) - HALF


def test_bytes_of_a_bad_mirror_do_not_spoil_a_good_one(server: Server, target: Path) -> None:
    bad = server.add("/bad", content=bytes(len(CONTENT)), breaks=[HALF, *[0] * 9])
    good = server.add("/good")
    assert download((bad, good), target, KNOWN, QUICK) == good
    assert target.read_bytes() == CONTENT
    assert server.pages["/good"].asked == [f"bytes={HALF}-", ""]


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_meanwhile_is_not_spliced(
    heeds: bool, server: Server, target: Path
) -> None:
    address = server.add("/file", breaks=[HALF, *[0] * 9])
    with pytest.raises(UserError):
        download((address,), target, Wanted(), QUICK)
    changed = CONTENT[::-1]
    server.add("/file", content=changed, tag='"v2"', heeds_if_range=heeds)
    download((address,), target, Wanted(), QUICK)
    assert target.read_bytes() == changed


def test_a_part_without_version_is_not_gone_on_from(server: Server, target: Path) -> None:
    address = server.add("/file", tag="", breaks=[HALF])
    download((address,), target, Wanted(), QUICK)
    assert target.read_bytes() == CONTENT
    assert server.pages["/file"].asked == ["", ""]


def test_a_part_longer_than_the_file_is_dropped(server: Server, target: Path) -> None:
    address = server.add("/file", content=CONTENT[:HALF])
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(CONTENT)
    download((address,), target, Wanted(None, {"sha256": sha256(CONTENT[:HALF])}), QUICK)
    assert target.read_bytes() == CONTENT[:HALF]


def test_a_part_that_is_already_whole_is_taken(server: Server, target: Path) -> None:
    address = server.add("/file")
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(CONTENT)
    download((address,), target, KNOWN, QUICK)
    assert target.read_bytes() == CONTENT
    assert server.pages["/file"].sent == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"content": bytes(len(CONTENT))}, "its sha256 is"),
        ({"content": CONTENT + b"more"}, f"it has {len(CONTENT) + 4} bytes, not {len(CONTENT)}"),
        ({"content": CONTENT[:HALF]}, f"it has {HALF} bytes, not {len(CONTENT)}"),
        ({"statuses": [404]}, "answers 404"),
        ({"statuses": [403]}, "answers 403"),
        ({"statuses": [500] * 9}, "answers 500"),
        ({"statuses": [503] * 9}, "answers 503"),
        ({"location": "/round"}, "redirects without end"),
        ({"location": "ftp://nowhere/file"}, "ftp"),
        ({"breaks": [HALF, *[PIECE] * 99], "first_byte": 1}, "another range than asked for"),
    ],
)
def test_a_bad_address_gives_way_and_alone_is_an_error(
    wrong: dict[str, Any], said: str, server: Server, target: Path
) -> None:
    bad = server.add("/round", **deepcopy(wrong))
    with pytest.raises(UserError, match=re.escape(said)):
        download((bad,), target, KNOWN, QUICK)
    assert left(target) == []
    bad, good = server.add("/round", **deepcopy(wrong)), server.add("/good")
    assert download((bad, good), target, KNOWN, QUICK) == good
    assert target.read_bytes() == CONTENT
    assert left(target) == ["file.bin"]


def test_a_passing_error_is_waited_out(server: Server, target: Path) -> None:
    address = server.add("/file", statuses=[503, 429])
    download((address,), target, KNOWN, QUICK)
    assert target.read_bytes() == CONTENT
    assert len(server.pages["/file"].asked) == 3


def test_a_redirect_is_followed_with_the_range(server: Server, target: Path) -> None:
    moved = server.add("/moved", location="/file")
    server.add("/file", breaks=[HALF])
    download((moved,), target, KNOWN, QUICK)
    assert target.read_bytes() == CONTENT
    assert server.pages["/file"].asked == ["", f"bytes={HALF}-"]


def test_a_length_that_nobody_says_is_refused(server: Server, target: Path) -> None:
    address = server.add("/file", length=False)
    with pytest.raises(UserError, match="says nowhere how long"):
        download((address,), target, Wanted(), QUICK)
    assert left(target) == []
    server.pages["/file"].breaks = [HALF]
    download((address,), target, KNOWN, QUICK)
    assert target.read_bytes() == CONTENT


def test_nobody_listens(server: Server, target: Path) -> None:
    address = server.address("/file")
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(UserError, match=r"(?s)could not be downloaded.*refused"):
        download((address,), target, KNOWN, QUICK)


def test_digests_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "hello"
    path.write_bytes(b"hello world\n")
    assert digests(path, ("md5", "git_blob")) == {
        "md5": "6f5902ac237024bdd0c176cb93063dc4",
        # `git hash-object hello`
        "git_blob": "3b18e512dba79e4c8300dd08aeb37f8e728b8dad",
    }


# The stage


ARCHIVE = zipped(set__data__json="{}", set__refs="1")


def source(*addresses: str, **other: Any) -> Source:
    row = {
        **{"name": "set", "what": "a set", "licence": "none", "addresses": addresses},
        **{
            "file": "set.zip",
            "unpack": True,
            "folder": "sets/set",
            "top": "set",
            "proof": "data/json",
        },
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


def test_a_plain_file_goes_to_its_folder(server: Server, tmp_path: Path) -> None:
    address = server.add("/train.txt", content=b"1\n2\n")
    one = source(address, file="train.txt", unpack=False, proof="train.txt", top=None)
    fetch(one, tmp_path, QUICK)
    assert (tmp_path / "sets/set/train.txt").read_bytes() == b"1\n2\n"


def test_by_hand_says_what_to_do_and_takes_what_is_put_there(tmp_path: Path) -> None:
    said = "Fill in the form, put {archive} there, or the files into {folder}."
    one = source(by_hand=said)
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
        said = table[name].by_hand.format(archive="A", folder="F")
        assert "form" in said
        assert "{" not in said
    with pytest.raises(UserError, match="no source 'refcoc'; there are refcoco,"):
        table["refcoc"]
    assert table.needed("scenes") == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": "abc"}, "source refcoco: sha256 cannot be 'abc'"),
        ({"bytes": "many"}, "bytes cannot be"),
        ({"size": 3}, "unknown keys ['size']"),
        ({"licence": None}, "missing keys ['licence']"),
        ({"folder": "../out"}, "leads out of the folder"),
        ({"addresses": []}, "by_hand"),
        ({"addresses": ["file:///etc/passwd"]}, "addresses cannot be"),
        ({"folder": "refcoco+"}, "share the folder refcoco+"),
        ({"file": "refcoco+.zip"}, "two archives have the same file name"),
    ],
)
def test_a_wrong_row_is_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    content = yaml.safe_load(TABLE.read_text())
    content["sources"]["refcoco"] |= change
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=re.escape(said)):
        read_sources(path)


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
                row.pop(key, None)
        content["sources"]["refcoco"]["proof"] = "inst.json"
        path = tmp_path / "own.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return make


def test_the_command_brings_a_data_set(own_table: Callable[[], Path], tmp_path: Path) -> None:
    root = tmp_path / "root"
    main(["--root", str(root), "--sources", str(own_table()), "--dataset", "refcoco"])
    assert (root / "refcoco/inst.json").exists()
    assert (root / "images/mscoco/images/train2014/COCO_train2014_1.jpg").exists()
    assert {"refcoco.json", "coco_train2014.json", "lock.json"} <= {
        path.name for path in (root / "downloads").iterdir()
    }


def test_the_command_names_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(UserError, match="no data set 'coco'; there are refcoco,"):
        main(["--dataset", "coco"])
    with pytest.raises(UserError, match="name a source"):
        main(["--root", str(tmp_path)])
    main(["--list"])
    assert "coco_train2014" in capsys.readouterr().out
    done = subprocess.run(
        [sys.executable, "-m", stage.__name__, "--root", str(tmp_path), "flickr30k_images"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "downloads/flickr30k-images.tar.gz") in done.stderr
    assert str(tmp_path / "flickr30k_entities/flickr30k-images") in done.stderr


def test_an_archive_is_told_from_what_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    for content, said in (
        (ARCHIVE, None),
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html>", "it is a web page, not an archive"),
        (ARCHIVE[: len(ARCHIVE) // 2], "it is no whole zip or tar archive"),
    ):
        path.write_bytes(content)
        assert problem(path) == said


# The rule


@pytest.mark.parametrize("study", ["smoke", "photos"])
def test_scenes_and_folders_download_nothing(
    study: str, workflow: Workflow, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "captions.csv").write_text("image,caption\n")
    run = workflow.dry("--configfile", f"configs/{study}.yaml", "--config", f"data_root={tmp_path}")
    assert run.status == 0, run.text
    assert "data" in run.jobs
    assert "download" not in run.jobs


@pytest.mark.parametrize("study", ["refcoco", "refcoco+", "refcocog", "referit", "flickr30k"])
def test_a_benchmark_downloads_what_it_needs(
    study: str, workflow: Workflow, tmp_path: Path
) -> None:
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
