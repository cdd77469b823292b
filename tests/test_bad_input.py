"""A corpus of bad input: what people's files hold, and what is said of each, in one table.

A case is a piece of input, what reads it, and the words of the answer: of the `UserError` that ends the run,
or of the rejected row that it costs. Nothing else may come of it: no other exception, nothing that was run,
no table that is half written.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

from benchmark_files import run_refer, small_flickr30k, small_refer
from camground.data.download.sources import read_sources
from camground.data.download.unpack import unpack
from camground.data.photographs import inspect
from camground.data.readers.inputs import require_words
from camground.data.readers.plain_pickle import load_plain_pickle
from camground.features.backbone import Backbone
from camground.features.config import BackboneConfig
from camground.grounder.config import GrounderConfig
from camground.grounder.loading import load_grounder
from camground.grounder.model_folder import read_settings
from camground.matcher.matcher import load_matcher
from camground.proposals.boxes_file import read_boxes
from camground.proposals.config import BoxesFileConfig
from camground.proposals.proposer import Photograph
from camground.stages.command import read_config
from camground.stages.config import StudyConfig
from camground.study import tables
from camground.study.checkpoints import load_checkpoint
from camground.study.errors import UserError
from camground.study.layers import layers, merged_files, read_yaml
from camground.study.progress import log, start_log
from data_stage import rejected, run_data
from photograph_folder import Folder
from tiny_study import write_matcher

Run = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """`run` in an empty folder ends in a `UserError`, or gives reasons of rejected rows, with `said` in
    it."""

    name: str
    run: Run
    said: str


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def written(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# Photographs


def encoded(form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, form, **options)
    return stream.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds next to none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def tiff_of(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "tiff")
    return stream.getvalue()


def photograph(content: bytes) -> Run:
    return lambda root: inspect(written(root / "photo.jpg", content)).problem


UNKNOWN = "unreadable: not an image that Pillow knows"
TORN = "unreadable or truncated"
PHOTOGRAPHS = [
    Case("an empty file", photograph(b""), UNKNOWN),
    Case("a web page", photograph(b"<html><body>404 Not Found</body></html>"), UNKNOWN),
    Case("a text", photograph(b"this is my dog"), UNKNOWN),
    Case("a drawing (SVG)", photograph(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), UNKNOWN),
    Case("a document (PDF)", photograph(b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"), UNKNOWN),
    Case("a raw photograph", photograph(b"FUJIFILMCCD-RAW 0201" + bytes(500)), UNKNOWN),
    Case("an archive", photograph(b"PK\x03\x04" + bytes(100)), UNKNOWN),
    Case("a pointer of Git LFS", photograph(b"version https://git-lfs.github.com/spec/v1\n"), UNKNOWN),
    Case("a JPEG cut in the middle", photograph(encoded("jpeg")[:900]), TORN),
    Case("a PNG cut in the middle", photograph(encoded("png")[:900]), TORN),
    Case("a TIFF cut in the middle", photograph(encoded("tiff")[:900]), TORN),
    Case("a GIF cut in the middle", photograph(encoded("gif")[:900]), TORN),
    Case("a PNG without pixels", photograph(png_of(60, 40)), TORN),
    Case("a bomb", photograph(png_of(60_000, 60_000)), "million pixels; make it smaller"),
    Case(
        "a depth map", photograph(tiff_of(np.full((9, 9), 3000.5, np.float32))), "are from 3000.5 to 3000.5"
    ),
    Case("not a number", photograph(tiff_of(np.full((9, 9), np.nan, np.float32))), "are not numbers"),
    Case("32 bits below 0", photograph(tiff_of(np.full((9, 9), -5, np.int32))), "pixels are from -5 to -5"),
    Case("next to black", photograph(tiff_of(np.full((9, 9), 3, np.int32))), "not 0 to 255"),
    Case("no file", lambda root: inspect(root / "photo.jpg").problem, "no such photograph"),
    Case("a folder", lambda root: inspect(root).problem, "unreadable or truncated: Is a directory"),
    Case(
        "a link to nothing",
        lambda root: (root / "photo.jpg").symlink_to("none") or inspect(root / "photo.jpg").problem,
        "no such photograph",
    ),
]

# Phrases that are asked for


def phrase(text: Any) -> Run:
    return lambda root: require_words(["red ball", text])


NAMELESS = "names nothing; say in words what to find"
PHRASES = [
    Case("an empty phrase", phrase(""), f"phrase 2: '' {NAMELESS}"),
    Case("blanks", phrase(" \t\u00a0"), NAMELESS),
    Case("dots", phrase("..."), NAMELESS),
    Case("an emoji", phrase("\U0001f436"), NAMELESS),
    Case("control characters", phrase("\x00\x1b\x07"), NAMELESS),
    Case("marks of direction alone", phrase("\u202e\u200f"), NAMELESS),
    Case("a byte order mark", phrase("\ufeff"), NAMELESS),
    Case("no text", phrase(None), f"phrase 2: None {NAMELESS}"),
    Case("a number", phrase(7), f"phrase 2: 7 {NAMELESS}"),
]

# Captions and phrases of a folder


def folder_with(captions: bytes = b"", phrases: bytes = b"", share: float = 1.0) -> Run:
    """Rows more than a folder has; the reasons of those that are rejected."""

    def run(root: Path) -> str:
        folder = Folder(root, captioned=6, boxed=1)
        folder.run()
        for name, rows in (("captions", captions), ("phrases", phrases)):
            with (folder.root / f"{name}.csv").open("ab") as stream:
                stream.write(rows)
        folder.run(share, write=False)
        return "\n".join(f"{file} {line}: {reason}" for file, line, reason in folder.rejected())

    return run


def captions_file(content: bytes) -> Run:
    """In place of a folder's captions."""

    def run(root: Path) -> str:
        folder = Folder(root, captioned=6, boxed=1)
        folder.run()
        written(folder.root / "captions.csv", content)
        folder.run(0.0, write=False)
        return "\n".join(reason for *_, reason in folder.rejected())

    return run


def box(values: str) -> Run:
    return folder_with(phrases=f"test0.png,blue ball,{values}\n".encode())


def image(name: str) -> Run:
    return folder_with(captions=f'"{name}",A brown dog .\n'.encode())


CAPTION = "A grüner Hund on the grass"
HEADER = "image,caption\n"
ROWS = HEADER + "".join(f"train{number}.jpg,{CAPTION}\n" for number in range(6))
NO_COLUMN = "must be a comma-separated header with image, caption"
NOT_UTF8 = "not UTF-8; save the file as UTF-8"
FOLDERS = [
    Case("an empty caption", folder_with(b"train0.jpg,\n"), "captions.csv 14: empty caption"),
    Case("a caption of dots", folder_with(b"train0.jpg,...\n"), "empty caption: not a letter in it"),
    Case("a caption of an emoji", folder_with("train0.jpg,\U0001f436\n".encode()), "not a letter in it"),
    Case("a caption of control characters", folder_with(b"train0.jpg,\x00\x1b\x07\n"), "not a letter in it"),
    Case("a missing field", folder_with(b"train0.jpg\n"), "1 fields, expected 2"),
    Case("a comma in a caption", folder_with(b"train0.jpg,a dog, a cat\n"), "quote a text with commas"),
    Case("a stray quote", folder_with(b'train0.jpg,"a "red" dog"\n'), "double quotes inside a text"),
    Case("a quote that never ends", folder_with(b'train0.jpg,"a dog\n'), "row of line 14 is never closed"),
    Case("10 MB in a quote", folder_with(b'train0.jpg,"' + b"a dog " * 200_000), "never closed"),
    Case("no photograph named", folder_with(b",A brown dog .\n"), "no photograph named"),
    Case("a photograph elsewhere", image("/etc/passwd"), "by its path inside the images folder"),
    Case("a photograph above", image("../train0.jpg"), "by its path inside the images folder"),
    Case("a photograph that is not there", image("none.jpg"), "captions.csv 14: no such photograph"),
    Case("another case", image("Train0.JPG"), "no such photograph; there is 'train0.jpg'"),
    Case("a backslash", image("images\\train0.jpg"), "no such photograph; there is 'train0.jpg'"),
    Case("a name with NUL", image("train0.jpg\x00"), "no file has such a name"),
    Case("a name of 5,000 letters", image("a" * 5000), "no file has such a name: at most 255 bytes"),
    Case("words for numbers", box("one,2,10,10"), "phrases.csv 3: the box is not four numbers"),
    Case("an empty number", box(",2,10,10"), "the box is not four numbers"),
    Case("a decimal comma", box('"1,5",2,10,10'), "the box is not four numbers"),
    Case("not finite", box("nan,2,10,10"), "the box is not finite"),
    Case("infinite", box("1,2,inf,10"), "the box is not finite"),
    Case("beyond any number", box("1,2,1e999,10"), "the box is not finite"),
    Case("corners in place of width", box("30,20,10,5e3"), "outside"),
    Case("no width", box("1,2,0,10"), "no positive width and height"),
    Case("a negative height", box("1,2,10,-10"), "no positive width and height"),
    Case("beside the photograph", box("300,2,10,10"), "outside"),
    Case("from 0 to 1", box("0.1,0.2,0.5,0.5"), "boxes are in pixels"),
    Case("a box too few", folder_with(phrases=b"test0.png,ball,1,2,3\n"), "5 fields, expected 6"),
    Case("Excel: Unicode text", captions_file(ROWS.replace(",", "\t").encode("utf-16")), "UTF-16"),
    Case("Excel: UTF-16 without a mark", captions_file(ROWS.encode("utf-16-le")), "UTF-16"),
    Case("Excel: Windows", captions_file(ROWS.encode("cp1252")), NOT_UTF8),
    Case("Excel: Macintosh", captions_file(ROWS.encode("mac-roman")), NOT_UTF8),
    Case("Excel: semicolons", captions_file(ROWS.replace(",", ";").encode()), NO_COLUMN),
    Case("Excel: tabs", captions_file(ROWS.replace(",", "\t").encode()), NO_COLUMN),
    Case("Excel: a line sep=", captions_file(b"sep=,\n" + ROWS.encode()), NO_COLUMN),
    Case("Excel: a workbook", captions_file(b"PK\x03\x04" + bytes(range(256))), "or no text; save it"),
    Case("no header", captions_file(ROWS.removeprefix(HEADER).encode()), NO_COLUMN),
    Case("an empty CSV file", captions_file(b""), "in its first line (empty)"),
    Case("a header alone", captions_file(HEADER.encode()), "usable captions of 0 photographs"),
]

# Boxes of another program


def detections(content: Any) -> Run:
    """As JSON, or text that is to be it."""

    def run(root: Path) -> str:
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        photographs = [Photograph(f"{number}.jpg", f"{number}.jpg", (64, 48)) for number in range(2)]
        config = BoxesFileConfig(path=str(written(root / "dets.json", text)), max_rejected_share=0.9)
        read_boxes(config, photographs, root / "rejected.parquet")
        return "\n".join(tables.read("rejected", root / "rejected.parquet")["reason"])

    return run


def detection(**changes: Any) -> Run:
    """One with these values beside a good one of each photograph."""
    good = {"image_id": 0, "bbox": [1, 2, 10, 12], "score": 0.5}
    return detections([good, {**good, "image_id": 1}, {**good, **changes}])


BOXES = [
    Case("not JSON", detections("image_id,x,y\n"), "truncated, or not JSON"),
    Case("torn JSON", detections('[{"image_id": 1, "bbox": [1, 2'), "truncated, or not JSON"),
    Case("JSON in UTF-16", detections(json.dumps([]).encode("utf-16")), "truncated, or not JSON"),
    Case("brackets without end", detections("[" * 100_000), "truncated, or not JSON"),
    Case("JSON of a number", detections(7), "it holds a int"),
    Case("other keys", detections({"boxes": []}), "its keys are boxes"),
    Case("no detection", detections([]), "holds no detection"),
    Case("no entry with an image", detections([{"bbox": [1, 2, 3, 4]}] * 2), "it has no image_id"),
    Case("three numbers", detection(bbox=[1, 2, 3]), "the box is not four numbers"),
    Case("a box of words", detection(bbox="1 2 3 4"), "the box is not four numbers"),
    Case("no box", detection(bbox=None), "the box is not four numbers"),
    Case("400 digits", detection(bbox=[10**400, 2, 3, 4]), "the box is not four numbers"),
    Case("an empty box", detection(bbox=[1, 2, 0, 0]), "no positive width and height"),
    Case("a box outside", detection(bbox=[1, 2, 100, 10]), "outside"),
    Case("a score above 1", detection(score=87.5), "the score is not a number from 0 to 1"),
    Case("a score of words", detection(score="high"), "the score is not a number from 0 to 1"),
    Case("a score that is none", detection(score=float("nan")), "the score is not a number from 0 to 1"),
    Case("an image that is a list", detection(image_id=[1]), "no whole number and no text"),
    Case("a category that is a number", detection(category=3), "the category's name is no text"),
]

# Tables


def table(change: Callable[[pa.Table], pa.Table] | None = None, cut: int | None = None) -> Run:
    """A table `images` after a change, or cut to so many bytes."""

    def run(root: Path) -> object:
        path = root / "images.parquet"
        row = {"image_id": "1.jpg", "path": "1.jpg", "width": 60, "height": 40, "split": "train"}
        tables.write("images", [row], path)
        if change:
            pq.write_table(change(pq.read_table(path)), path)
        path.write_bytes(path.read_bytes()[:cut])
        return tables.read("images", path)

    return run


def with_metadata(**values: str) -> Callable[[pa.Table], pa.Table]:
    named = {f"camground.{name}".encode(): value for name, value in values.items()}
    return lambda content: content.replace_schema_metadata({**content.schema.metadata, **named})


def retyped(content: pa.Table) -> pa.Table:
    schema = content.schema
    index = schema.get_field_index("width")
    return content.cast(schema.set(index, pa.field("width", pa.float64(), nullable=False)))


READABLE = "not a readable Parquet file"
OTHER = "of version 1 or another schema; this code reads version 1; delete it and rerun"
TABLES = [
    Case("a missing column", table(lambda content: content.drop_columns(["width"])), OTHER),
    Case("a column more", table(lambda content: content.append_column("more", [[1]])), OTHER),
    Case("another type", table(retyped), OTHER),
    Case("a newer version", table(with_metadata(version="2")), "`images` of version 2 or another schema"),
    Case("another table", table(with_metadata(table="targets")), "holds table `targets`, not `images`"),
    Case("any Parquet file", table(lambda content: content.replace_schema_metadata(None)), "holds table `?`"),
    Case("an empty table file", table(cut=0), READABLE),
    Case("a table cut short", table(cut=300), READABLE),
    Case("a CSV file as a table", lambda root: tables.read("images", written(root / "a", ROWS)), READABLE),
    Case(
        "no table", lambda root: tables.read("images", root / "images.parquet"), "writes `images` has not run"
    ),
    Case(
        "rows without a value",
        lambda root: tables.write(
            "images",
            [
                {"image_id": None}
                | dict.fromkeys(("path", "split"), "")
                | dict.fromkeys(("width", "height"), 1)
            ],
            root / "a",
        ),
        "table images, column image_id: 1 null values",
    ),
]

# Configs


def config(text: bytes | str) -> Run:
    return lambda root: StudyConfig.parse(merged_files({}, written(root / "study.yaml", text)))


CONFIGS = [
    Case("an unknown key", config("trian: {}"), "trian: unknown key; did you mean `train`?"),
    Case("a word for a number", config("proposals: {count: many}"), "must be a whole number, not 'many'"),
    Case("out of range", config("proposals: {count: -3}"), "proposals.count: must be"),
    Case(
        "a number that is none",
        config("losses: {contrastive: .nan}"),
        "losses.contrastive: must be a finite number",
    ),
    Case("a seed twice", config("seeds: [0, 0]"), "seeds: names 0 twice"),
    Case("a list", config("- 1\n- 2"), "must hold keys, not a list"),
    Case("a text as a config", config("hello"), "must hold keys, not a str"),
    Case("tabs", config("train:\n\toptimiser: {}"), "not YAML"),
    Case("a bracket too few", config("train: {"), "not YAML"),
    Case("a date that is none", config("dataset: 2024-99-99"), "not YAML"),
    Case("keys that are numbers", config("1: 2"), "1: keys should be strings"),
    Case("code in a config", config("dataset: !!python/object/apply:os.getcwd []"), "not YAML"),
    Case("a config of Windows", config("dataset: Möwen".encode("cp1252")), "not YAML"),
    Case("a config that is a picture", config(encoded("png")), "not YAML"),
    Case("no config", lambda root: read_yaml(root / "study.yaml"), "No such file or directory"),
    Case("a folder as a config", lambda root: read_yaml(root), "Is a directory"),
    Case("extends what is not there", lambda root: layers({"extends": str(root / "no")}), "No such file"),
    Case("extends a list", lambda root: layers({"extends": ["a"]}), "must be the path of a study's file"),
    Case("braces in a path", config("results_dir: '{x}'"), "braces are wildcards to Snakemake"),
    Case(
        "a stage's JSON", lambda root: read_config("{", GrounderConfig), "neither JSON text nor a JSON file"
    ),
    Case(
        "a stage's list",
        lambda root: read_config(str(written(root / "a.json", "[]")), GrounderConfig),
        "--config must hold a JSON object",
    ),
    Case(
        "a table of mirrors without sources",
        lambda root: read_sources(written(root / "a.yaml", "sets: {}")),
        "must hold `sources`",
    ),
]

# Archives


def archive(content: bytes) -> Run:
    return lambda root: unpack(written(root / "a.zip", content), root / "set", "proof")


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
        warnings.simplefilter("ignore")  # of a name that comes twice
        for name in names:
            opened.writestr(name, b"x" * 500)
    return stream.getvalue()


def tarred(kind: bytes, name: str = "proof", link: str = "") -> bytes:
    stream, info = io.BytesIO(), tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    with tarfile.open(fileobj=stream, mode="w:gz") as opened:
        opened.addfile(info)
    return stream.getvalue()


ARCHIVES = [
    Case("an empty archive", archive(b""), "it is empty"),
    Case("a page in place of an archive", archive(b"<!DOCTYPE html>"), "it is a web page, not an archive"),
    Case("another format", archive(b"7z\xbc\xaf\x27\x1c" + bytes(50)), "it is no whole zip or tar archive"),
    Case("half a zip", archive(zipped("proof")[:60]), "it is no whole zip or tar archive"),
    Case("half a tar", archive(tarred(tarfile.REGTYPE)[:40]), "it is no whole zip or tar archive"),
    Case("something else in it", archive(zipped("other")), "holds no proof, so it is not what was expected"),
    Case("a path that climbs", archive(zipped("proof", "../up")), "leads out of the folder"),
    Case("an absolute path", archive(zipped("proof", "/etc/up")), "has an absolute path"),
    Case("a path of Windows", archive(zipped("proof", "C:\\up")), "has an absolute path"),
    Case("a member twice", archive(zipped("proof", "proof")), "stands where another member does"),
    Case("a link", archive(tarred(tarfile.SYMTYPE, link="/etc/passwd")), "is a link"),
    Case("a device", archive(tarred(tarfile.CHRTYPE)), "is no plain file"),
]

# Pickles


def pickled(content: bytes | Callable[[Path], object]) -> Run:
    """The pickle of these bytes, or of the object for a folder; nothing of it may run."""

    def run(root: Path) -> object:
        raw = content if isinstance(content, bytes) else pickle.dumps(content(root))
        return load_plain_pickle(written(root / "refs(unc).p", raw))

    return run


def cycle(root: Path) -> object:
    found: list[Any] = []
    found.append(found)
    return found


NOT_PLAIN = "this pickle is not plain data"
PICKLES = [
    Case("code in a pickle", pickled(lambda root: Touch(root / "ran")), NOT_PLAIN),
    Case("an array", pickled(lambda root: np.zeros(3)), "write it with Python's own lists"),
    Case("a set", pickled(lambda root: {1, 2}), "it holds a set"),
    Case("a list of itself", pickled(cycle), "its containers hold themselves"),
    Case("half a pickle", pickled(pickle.dumps(["a dog"] * 9)[:20]), "truncated, damaged or not a pickle"),
    Case("a page in place of a pickle", pickled(b"<html>404</html>"), "truncated, damaged or not a pickle"),
    Case("two pickles", pickled(pickle.dumps(1) * 2), "has bytes after its pickle's end"),
    Case(
        "a memory full of nothing", pickled(b"\x80\x02]r\xff\xff\xff\xff."), "it numbers a value 4294967295"
    ),
]

# Benchmarks


def refer(change: Callable[[Any], object]) -> Run:
    """A data set of REFER after a change; the reasons of its rejected rows."""

    def run(root: Path) -> str:
        made = small_refer(root)
        change(made)
        run_refer(made.write(), root / "out", share=0.9)
        return "\n".join(reason for *_, reason in rejected(root / "out"))

    return run


def flickr(file: str, content: bytes | str) -> Run:
    """Flickr30k Entities with another content of a file."""

    def run(root: Path) -> str:
        written(small_flickr30k(root) / file, content)
        run_data(root / "out", "flickr30k", root, 0.9)
        return "\n".join(reason for *_, reason in rejected(root / "out"))

    return run


FIRST = "1000092795"
XML = f"Annotations/{FIRST}.xml"
SIZED = "<a><size><width>64</width><height>48</height></size>{}</a>"
BENCHMARKS = [
    Case("a ref without its keys", refer(lambda made: made.refs.append({})), "without ref_id, ann_id"),
    Case("a ref that is a text", refer(lambda made: made.refs.append("ref")), "not a dict"),
    Case("a ref twice", refer(lambda made: made.refs.append(made.refs[0])), "the ref comes twice"),
    Case("a split nobody knows", refer(lambda made: made.refs[0].update(split="dev")), "split 'dev'"),
    Case("an id of half a number", refer(lambda made: made.refs[0].update(ann_id=0.5)), "the id 0.5 is no"),
    Case("an object nobody knows", refer(lambda made: made.refs[0].update(ann_id=7)), "annotation 7: is not"),
    Case("an image nobody knows", refer(lambda made: made.refs[0].update(image_id=7)), "image 7 is not in"),
    Case("no images", refer(lambda made: made.images.clear()), "is not in instances.json"),
    Case("an image without a size", refer(lambda made: made.images[500].pop("width")), "lacks one of id"),
    Case("endless", refer(lambda made: made.images[500].update(width=1e999)), "no width and height"),
    Case(
        "an object's box of words",
        refer(lambda made: made.annotations[0].update(bbox="all")),
        "not four numbers",
    ),
    Case(
        "another size", refer(lambda made: made.images[500].update(width=9)), "but instances.json has 9 x 48"
    ),
    Case("an XML cut short", flickr(XML, "<annotation><size>"), "truncated, or not XML"),
    Case("an XML without a size", flickr(XML, "<a/>"), "<size/width> holds None, not a whole number"),
    Case("an XML of Windows", flickr(XML, "<a>ü</a>".encode("cp1252")), "truncated, or not XML"),
    Case("an XML with words", flickr(XML, SIZED.replace("64", "wide")), "holds 'wide', not a whole number"),
    Case("a bracket too many", flickr(f"Sentences/{FIRST}.txt", "A ] dog .\n"), "a bracket of no phrase"),
    Case(
        "a caption of Windows", flickr(f"Sentences/{FIRST}.txt", "Ein Hünd .".encode("cp1252")), "not UTF-8"
    ),
    Case("a path for an id", flickr("val.txt", "../up\n"), "is no id of a photograph"),
    Case("a photograph in two splits", flickr("test.txt", f"{FIRST}\n"), "is in split train too"),
]

# Checkpoints and models


def checkpoint(change: Callable[[Path], object], load: Callable[[Path], object] = load_matcher) -> Run:
    def run(root: Path) -> object:
        folder = write_matcher(root / "matcher", 8, 8)
        change(folder)
        return load(folder)

    return run


def weights(content: Callable[[Path], object]) -> Run:
    """A file of a backbone's weights that somebody else made."""

    def run(root: Path) -> object:
        file = root / "weights.pt"
        made = content(root)
        file.write_bytes(made) if isinstance(made, bytes) else torch.save(made, file)
        settings = {"name": "timm/test_resnet", "checkpoint": str(file), "image_size": 32, "levels": [1]}
        return Backbone(BackboneConfig.parse({**settings, "grid": 2}))

    return run


def set_config(**values: Any) -> Callable[[Path], object]:
    return lambda folder: written(folder / "config.yaml", yaml.safe_dump(values))


WEIGHTS = "checkpoint.safetensors"
NOT_WHOLE = "not a whole checkpoint"
CHECKPOINTS = [
    Case("torn weights", checkpoint(lambda folder: os.truncate(folder / WEIGHTS, 300)), NOT_WHOLE),
    Case("empty weights", checkpoint(lambda folder: os.truncate(folder / WEIGHTS, 0)), NOT_WHOLE),
    Case("no weights", checkpoint(lambda folder: (folder / WEIGHTS).unlink()), NOT_WHOLE),
    Case("no config of weights", checkpoint(lambda folder: (folder / "config.yaml").unlink()), NOT_WHOLE),
    Case(
        "a config that is a list",
        checkpoint(lambda folder: written(folder / "config.yaml", "[1]")),
        NOT_WHOLE,
    ),
    Case(
        "code in a config of weights",
        checkpoint(lambda folder: written(folder / "config.yaml", "a: !!python/name:os.system ")),
        NOT_WHOLE,
    ),
    Case(
        "code in place of weights",
        checkpoint(lambda folder: written(folder / WEIGHTS, pickle.dumps(Touch(folder.parent / "ran")))),
        NOT_WHOLE,
    ),
    Case(
        "another architecture", checkpoint(set_config(matcher={"width": 32})), "not those of its config.yaml"
    ),
    Case("of another version", checkpoint(set_config(model={})), "config.yaml lacks 'matcher'"),
    Case("a matcher for a grounder", checkpoint(lambda folder: None, load_grounder), "rerun its training"),
    Case("no folder", lambda root: load_checkpoint(root / "none"), NOT_WHOLE),
    Case("code in a backbone", weights(lambda root: {"a": Touch(root / "ran")}), "checkpoint: cannot read"),
    Case("a torn backbone", weights(lambda root: b"PK\x03\x04" + bytes(50)), "checkpoint: cannot read"),
    Case("a backbone of numbers", weights(lambda root: {"epoch": 3}), "is no state dict"),
    Case("another backbone", weights(lambda root: {"a": torch.zeros(3)}), "features.backbone.checkpoint"),
    Case("no model folder", lambda root: read_settings(root), "not a folder that the stage `tracking` made"),
    Case(
        "a model folder without calibration",
        lambda root: (written(root / "grounding.json", "{}"), read_settings(root)),
        "holds no calibration.json; another version of camground made it: run the study's command again",
    ),
    Case(
        "a model folder of another version",
        lambda root: (
            written(root / "calibration.json", "{}"),
            written(root / "grounding.json", '{"model": 1}'),
            read_settings(root),
        ),
        "if another version wrote it, run the stage `tracking`",
    ),
]

CASES = [
    *PHOTOGRAPHS,
    *PHRASES,
    *FOLDERS,
    *BOXES,
    *TABLES,
    *CONFIGS,
    *ARCHIVES,
    *PICKLES,
    *BENCHMARKS,
    *CHECKPOINTS,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_answered(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("camground.data.kinds.FEWEST", 1)
    # to this test's own standard error, and as it was afterwards
    for name, value in (("handlers", []), ("propagate", False)):
        monkeypatch.setattr(log, name, value)
    start_log("a stage")
    try:
        answer = str(case.run(tmp_path))
    except UserError as error:
        answer = str(error)
    assert case.said in answer
    # to a terminal, which takes no lone surrogate
    log.error(answer)
    answer.encode()
    assert "Traceback" not in capfd.readouterr().err
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.rglob(".*.part"))


GOOD = {
    "10,000 words": "brown dog " * 5000,
    "right to left": "كلب بني على العشب",
    "both directions": "brown \u202edog\u202c on the grass",
    "emoji among words": "brown dog \U0001f436\u200d\U0001f9ba on the grass",
    "control characters among words": "brown\x00dog\x1b[31m on\x07 the grass",
    "combining letters": "bro\u0308wn do\u0308g",
    "Chinese": "草地上的棕色狗",
    "lone letters": "a b c d e f g",
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_odd_texts_are_read(text: str, tmp_path: Path) -> None:
    """As phrases and as captions, each in one row."""
    require_words([text])
    folder = Folder(tmp_path, captioned=6, boxed=1)
    folder.captions.append(["train0.jpg", text])
    folder.phrases.append(["test0.png", text, "1", "2", "10", "12"])
    folder.run()
    texts = folder.table("expressions")["text"].tolist()
    assert texts.count(" ".join(text.split())) >= 2
    assert folder.rejected() == []


def test_names_tell_cases_apart() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 80
