"""Photographs of a data set of the hub: a local copy in its format becomes the folder; else the archive."""

from __future__ import annotations

import io
import json
import logging
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmark_files import small_flickr30k
from camground.data.download.fetch import fetch, listing
from camground.data.download.sources import Source, read_sources
from camground.study.errors import UserError
from data_stage import run_data, table
from file_server import QUICK, Server

# As the card of lmms-lab/flickr30k has them; an Image is stored as bytes and path.
SCHEMA = pa.schema(
    {
        "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        "caption": pa.list_(pa.string()),
        "sentids": pa.list_(pa.string()),
        "img_id": pa.string(),
        "filename": pa.string(),
    }
)
REVISION = "0" * 40


def jpeg(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16), (shade, 90, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


PHOTOGRAPHS = {f"{1000092795 + number}.jpg": jpeg(30 * number) for number in range(5)}


def rows(photographs: dict[str, bytes]) -> list[dict[str, Any]]:
    return [
        {
            "image": {"bytes": content, "path": name},
            "caption": ["Two men talk .", "A yard ."],
            "sentids": [str(2 * number), str(2 * number + 1)],
            "img_id": str(number),
            "filename": name,
        }
        for number, (name, content) in enumerate(photographs.items())
    ]


def write_hub(folder: Path, content: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> Path:
    """The data set in two Parquet files, as the hub has nine."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for part in range(2):
        table = pa.Table.from_pylist(content[part::2], schema=schema)
        pq.write_table(table, folder / f"data/test-0000{part}-of-00002.parquet", row_group_size=2)
    (folder / "README.md").write_text("card")
    return folder


def archive() -> bytes:
    """The publishers' archive, of one photograph."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("photographs/1.jpg")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    return buffer.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Puts a local copy in the hub's place, or an error; returns what was asked for."""

    def put(copy: Path | Exception) -> list[dict[str, Any]]:
        asked = []

        def snapshot_download(repository: str, allow_patterns: str, local_dir: Path, **how: Any) -> str:
            asked.append({"repository": repository, **how})
            if isinstance(copy, Exception):
                raise copy
            for path in copy.glob(allow_patterns):
                target = Path(local_dir) / path.relative_to(copy)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
            return str(local_dir)

        monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
        return asked

    return put


def source(*addresses: str, **hub: Any) -> Source:
    found = {"repository": "some/photographs", "revision": REVISION, "files": "data/test-*.parquet"}
    return Source(
        name="photographs",
        what="photographs",
        licence="none",
        hub={**found, "photographs": len(PHOTOGRAPHS), **hub},
        addresses=addresses,
        by_hand="Fill in the form and put {archive} there.",
        file="photographs.tar.gz",
        unpack=True,
        folder="set/photographs",
        top="photographs",
        proof="*.jpg",
    )


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "set/photographs").glob("*")}


def test_the_hubs_photographs_become_the_folder(
    hub: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    asked = hub(write_hub(tmp_path / "hub", rows(PHOTOGRAPHS)))
    root = tmp_path / "root"
    receipt = fetch(source(), root, QUICK)
    # the files' own bytes, under the publishers' names, and nothing beside them
    assert contents(root) == PHOTOGRAPHS
    assert [path.name for path in (root / "set").iterdir()] == ["photographs"]
    assert asked == [{"repository": "some/photographs", "repo_type": "dataset", "revision": REVISION}]
    assert json.loads(receipt.read_text())["folder"] == "set/photographs"
    fetch(source(), root, QUICK)
    assert len(asked) == 1


def test_an_archive_that_is_there_comes_before_the_hub(
    hub: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    asked = hub(OSError("no network"))
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/photographs.tar.gz").write_bytes(archive())
    fetch(source(), tmp_path, QUICK)
    assert contents(tmp_path) == {"1.jpg": b"x"}
    assert asked == []


def damaged(content: list[dict[str, Any]], row: int, **other: Any) -> list[dict[str, Any]]:
    return [one | other if number == row else one for number, one in enumerate(content)]


FAULTS = {
    "fewer": (rows(PHOTOGRAPHS)[:4], "it has 4 photographs, not 5"),
    "none": ([], "it has 0 photographs, not 5"),
    "twice": (damaged(rows(PHOTOGRAPHS), 4, filename="1000092795.jpg"), "its 1000092795.jpg comes twice"),
    "outside": (damaged(rows(PHOTOGRAPHS), 1, filename="../1.jpg"), "'../1.jpg' is no name of a photograph"),
    "hidden": (damaged(rows(PHOTOGRAPHS), 1, filename=".1.jpg"), "'.1.jpg' is no name of a photograph"),
    "no name": (damaged(rows(PHOTOGRAPHS), 1, filename=None), "None is no name of a photograph"),
    "no picture": (damaged(rows(PHOTOGRAPHS), 2, image=None), "its 1000092797.jpg is no JPEG"),
    "other bytes": (
        damaged(rows(PHOTOGRAPHS), 2, image={"bytes": b"\x89PNG", "path": "x"}),
        "its 1000092797.jpg is no JPEG",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_other_photographs_are_not_taken(
    fault: str,
    hub: Callable[..., list[dict[str, Any]]],
    server: Server,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    content, reason = FAULTS[fault]
    hub(write_hub(tmp_path / "hub", content))
    with caplog.at_level(logging.WARNING):
        fetch(source(server.add("/a.tar.gz", content=archive())), tmp_path / "root", QUICK)
    assert f"photographs: some/photographs of the hub is not used: {reason}" in caplog.text
    # the archive's alone, nothing of the hub's
    assert contents(tmp_path / "root") == {"1.jpg": b"x"}
    assert [path.name for path in (tmp_path / "root/set").iterdir()] == ["photographs"]


def test_without_a_hub_the_addresses_serve(
    hub: Callable[..., list[dict[str, Any]]], server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub(OSError("no network\nand many more lines"))
    with caplog.at_level(logging.WARNING):
        fetch(source(server.add("/a.tar.gz", content=archive())), tmp_path, QUICK)
    assert "some/photographs of the hub is not used: no network; its addresses are tried" in caplog.text
    assert contents(tmp_path) == {"1.jpg": b"x"}


def test_without_either_it_is_said_what_to_do_by_hand(
    hub: Callable[..., list[dict[str, Any]]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub(ValueError("no such revision"))
    with pytest.raises(UserError, match=r"Fill in the form and put .*photographs\.tar\.gz there"):
        fetch(source(), tmp_path, QUICK)
    assert "no such revision; it is to be fetched by hand" in caplog.text
    assert not (tmp_path / "downloads/photographs.json").exists()


def test_damaged_files_are_named(
    hub: Callable[..., list[dict[str, Any]]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = write_hub(tmp_path / "hub", rows(PHOTOGRAPHS))
    first = copy / "data/test-00000-of-00002.parquet"
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    hub(copy)
    with pytest.raises(UserError, match="Fill in the form"):
        fetch(source(), tmp_path, QUICK)
    where = tmp_path / "downloads/photographs-hub"
    assert f"its files in {where} cannot be read: " in caplog.text
    assert list((tmp_path / "set").iterdir()) == []
    # of another format
    table = pa.table({"image": ["a"], "name": ["b"]})
    pq.write_table(table, first)
    with pytest.raises(UserError, match="Fill in the form"):
        fetch(source(), tmp_path, QUICK)
    assert f"{where / first.relative_to(copy)} has no column filename" in caplog.text


def test_a_full_disk_is_no_reason_to_download_it_again(
    hub: Callable[..., list[dict[str, Any]]], server: Server, tmp_path: Path
) -> None:
    hub(OSError(28, "No space left on device"))
    page = server.add("/a.tar.gz", content=archive())
    with pytest.raises(UserError, match="photographs-hub: No space left on device; make room"):
        fetch(source(page), tmp_path, QUICK)
    assert server.pages["/a.tar.gz"].asked == []


def test_a_folder_of_something_else_is_left_alone(
    hub: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    asked = hub(write_hub(tmp_path / "hub", rows(PHOTOGRAPHS)))
    (tmp_path / "set/photographs").mkdir(parents=True)
    (tmp_path / "set/photographs/mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"set/photographs: exists, but without \*\.jpg; move it away"):
        fetch(source(), tmp_path, QUICK)
    assert contents(tmp_path) == {"mine.txt": b"mine"}
    assert asked == []


def test_the_table_has_flickr30k_from_the_hub() -> None:
    table = read_sources()
    hubs = {name: one.hub for name, one in table.sources.items() if one.hub}
    assert list(hubs) == ["flickr30k_images"]
    assert hubs["flickr30k_images"].photographs == 31783
    assert "    data set lmms-lab/flickr30k of the Hugging Face hub; else by hand (" in listing(table)


def test_a_table_of_mirrors_can_do_without_the_hub(tmp_path: Path) -> None:
    path = tmp_path / "mirrors.yaml"
    path.write_text("sources: {flickr30k_images: {hub: null}}")
    assert read_sources(path)["flickr30k_images"].hub is None
    path.write_text("sources: {flickr30k_images: {hub: {repository: flickr30k}}}")
    with pytest.raises(UserError, match=r"sources\.flickr30k_images\.hub\.repository: must match"):
        read_sources(path)


def test_the_reader_takes_them(
    hub: Callable[..., list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("camground.data.kinds.FEWEST", 1)  # photographs of val
    root = tmp_path / "root"
    drawn = small_flickr30k(root) / "flickr30k-images"
    photographs = {path.name: path.read_bytes() for path in sorted(drawn.iterdir())}
    hub(write_hub(tmp_path / "hub", rows(photographs)))
    drawn.rename(tmp_path / "elsewhere")
    packaged = read_sources()["flickr30k_images"]
    assert packaged.hub
    fewer = packaged.hub.model_copy(update={"photographs": len(photographs)})
    fetch(packaged.model_copy(update={"hub": fewer}), root, QUICK)
    run_data(tmp_path / "out", "flickr30k", root, 0.0)
    assert len(table(tmp_path / "out", "images")) == len(photographs)


# The hub's own client


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A local server that answers as the hub does to list and get files; the paths it was asked for."""
    copy, asked = write_hub(tmp_path / "hub", rows(PHOTOGRAPHS)), []
    resolve = f"/datasets/some/photographs/resolve/{REVISION}/"

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            asked.append(f"{self.command} {path}")
            file = copy / path.removeprefix(resolve)
            if path == f"/api/datasets/some/photographs/tree/{REVISION}":
                files = [file for file in sorted(copy.rglob("*")) if file.is_file()]
                entries = [
                    {
                        "type": "file",
                        "path": str(file.relative_to(copy)),
                        "size": file.stat().st_size,
                        "oid": f"{number:040d}",
                    }
                    for number, file in enumerate(files)
                ]
                content = json.dumps(entries).encode()
            elif path.startswith(resolve) and file.is_file():
                content = file.read_bytes()
            else:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{file.name}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    url = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url)
    yield asked
    server.shutdown()
    server.server_close()


def test_the_hubs_own_client_brings_the_files(local_hub: list[str], tmp_path: Path) -> None:
    root = tmp_path / "root"
    fetch(source(), root, QUICK)
    assert contents(root) == PHOTOGRAPHS
    # the Parquet files alone, of the pinned commit
    got = {line.rpartition("/")[2] for line in local_hub if "/resolve/" in line}
    assert got == {"test-00000-of-00002.parquet", "test-00001-of-00002.parquet"}
    assert all(REVISION in line for line in local_hub if "photographs" in line)
