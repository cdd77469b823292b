"""Tool `demo`: a page on which a model can be tried."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    model: Annotated[
        str, typer.Argument(help="Model folder, which the stage tracking makes, or its name on the hub.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 7860,
    device: Annotated[str, typer.Option(help="Device of the networks, as PyTorch names it.")] = "cpu",
) -> None:
    """Serve a page to ground phrases in photographs with a model, until Ctrl-C.

    It shows the boxes, both Grad-CAMs and the best candidates.
    """
    from camground.grounder.model_folder import find_model, read_settings
    from camground.report.demo import make_page, require_gradio

    require_gradio()
    folder = find_model(model)
    read_settings(folder)

    from camground.pipeline import GroundingPipeline

    page = make_page(GroundingPipeline.from_pretrained(folder, device))
    page.launch(server_name=host, server_port=port)
