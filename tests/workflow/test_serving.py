"""`mlflow models serve` on the store as it lies: a base64 picture and a phrase over loopback, and bad
requests."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from camground.study import tables
from conftest import Run, Workflow

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def results(smoke: tuple[Workflow, Run]) -> Path:
    return smoke[0].folder / "results"


@pytest.fixture(scope="module")
def server(results: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of MLflow's scoring server, started as the documents say."""
    # The package's entry points as its installation enters them, whatever is installed here.
    plugins = tmp_path_factory.mktemp("installed")
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    metadata = plugins / "camground_of_checkout-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: camground_of_checkout\nVersion: 0\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())])
        for group, entries in project["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(groups))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "--model-uri",
        "models:/smoke-detected@headline",
    ]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    path = os.pathsep.join([str(plugins), str(repository / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{results}/mlflow.db"}
    log = plugins / "server.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < until:
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5)
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail(log.read_text())
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def ask(server: str, body: object, kind: str = "application/json") -> tuple[int, str]:
    """Status and text of the answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{server}/invocations", data, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def picture(results: Path) -> Path:
    images = results / "smoke" / "data" / "images.parquet"
    return tables.image_path(images, tables.read("images", images)["path"][0])


def test_a_base64_picture_and_a_phrase_are_answered(server: str, picture: Path) -> None:
    image = base64.b64encode(picture.read_bytes()).decode()
    rows = [{"image": image, "text": "the red boat"}, {"image": image, "text": "..."}]
    status, text = ask(server, {"dataframe_records": rows})
    assert status == 200, text
    answer, wordless = json.loads(text)["predictions"]
    assert 0 <= answer["x1"] < answer["x2"] <= 128
    assert 0 <= answer["y1"] < answer["y2"] <= 128
    assert answer["error"] is None
    assert wordless["error"] == "text: missing, or without a word"


BAD: list[tuple[Any, str]] = [
    ({"dataframe_records": [{"image": "AAAA", "text": "a boat"}]}, "application/json"),
    ({"dataframe_records": [{"image": "A", "text": "a boat"}]}, "application/json"),
    ({"dataframe_records": [{"image": 5, "text": "a boat"}]}, "application/json"),
    ({"dataframe_records": [{"image": None, "text": "a boat"}]}, "application/json"),
    ({"dataframe_records": [{"image": "AAAA"}]}, "application/json"),
    ({"dataframe_records": [{"text": "a boat"}]}, "application/json"),
    ({"dataframe_records": []}, "application/json"),
    ({"dataframe_split": {"columns": ["text"], "data": 5}}, "application/json"),
    ({"inputs": "AAAA"}, "application/json"),
    (b"{", "application/json"),
    (b"", "application/json"),
    (b"image,text\nAAAA,a boat\nA,b,c,d\n", "text/csv"),
    (b"\xff\xfe", "text/csv"),
    (b"nothing", "application/vnd.apache.parquet"),
    (b"nothing", "text/plain"),
]


@pytest.mark.parametrize(("body", "kind"), BAD)
def test_a_bad_request_gets_no_stack_trace_and_no_path(server: str, body: Any, kind: str) -> None:
    _, text = ask(server, body, kind)
    for secret in ("Traceback", 'File \\"', 'File "', "stack_trace", str(Path(__file__).parents[2]), "/tmp/"):
        assert secret not in text, text


def test_no_file_of_the_server_is_opened(server: str, picture: Path) -> None:
    status, text = ask(server, {"dataframe_records": [{"image_path": str(picture), "text": "a boat"}]})
    assert status == 200, text
    (answer,) = json.loads(text)["predictions"]
    assert answer["x1"] is None
    assert "no file is opened here" in answer["error"]
