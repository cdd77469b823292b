"""`camground demo` as a person meets it: the shipped model's page in a headless Chromium."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slurm_cluster import free_ports

pytest.importorskip("gradio", reason="gradio, the extra `demo`, is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")

MODEL = Path(__file__).parents[2] / "models/scenes"
PATIENCE_MS = 120_000  # loading the model takes its time on two cores


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the page is served."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "camground.cli", "demo", str(MODEL), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1100})
        page.set_default_timeout(PATIENCE_MS)
        for _ in range(PATIENCE_MS // 1000):
            try:
                page.goto(address, wait_until="domcontentloaded")
                break
            except playwright.Error:  # nobody listens there yet
                page.wait_for_timeout(1000)
        yield page
        browser.close()


def test_a_photograph_and_phrases_give_boxes_maps_and_candidates(page: Any) -> None:
    outside = []
    page.on("request", lambda request: outside.append(request.url))
    page.set_input_files("input[type=file]", MODEL / "example.png")
    page.fill("textarea", "the blue snail\na purple elephant")
    page.wait_for_selector("img")  # the photograph has arrived
    page.get_by_role("button", name="Ground").click()
    for phrase in ("the blue snail", "a purple elephant"):
        for picture in ("the model's own Grad-CAM", "the matcher's Grad-CAM", "the 5 best candidates"):
            page.get_by_text(f"{phrase}: {picture}").first.wait_for()
    said = [line for line in page.inner_text("body").splitlines() if line.strip()]
    for row in (["the blue snail", "97%", "42, 67, 88, 107"], ["a purple elephant", "29%", "51, 9, 91, 40"]):
        start = said.index(row[1])
        assert said[start - 1 : start + 2] == row
    assert not [url for url in outside if "127.0.0.1" not in url and not url.startswith(("data:", "blob:"))]


def test_nothing_to_ground_is_said_on_the_page(page: Any) -> None:
    page.get_by_role("button", name="Ground").click()
    page.get_by_text("give a photograph and a phrase").first.wait_for()
