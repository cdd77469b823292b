"""`camground <command>`: every stage of the workflow and every tool.

A command's module is imported when the command runs, or when its help is wanted. What is heavy (PyTorch,
pandas) is imported by the command itself.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from camground import __version__
from camground.stages.command import to_command

STAGES_PANEL, TOOLS_PANEL = "Stages, in the workflow's order", "Tools"
# The command: the module in camground.stages and its function.
STAGES = {
    name: (name, name)
    for name in (
        *("download", "data", "leakage", "proposals", "features", "matcher", "gradcam", "train"),
        *("predict", "evaluate", "baselines", "ablation", "report", "tracking"),
    )
}
TOOLS = {
    "selection": ("selection", "selection"),
    "ui": ("tracking", "ui"),
    "config": ("config", "config"),
}


class Commands(TyperGroup):
    """The group of all commands, each imported when it is needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*STAGES, *TOOLS]

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        if cmd_name not in STAGES | TOOLS:
            return None
        module, function = (STAGES | TOOLS)[cmd_name]
        panel = STAGES_PANEL if cmd_name in STAGES else TOOLS_PANEL
        return _command(cmd_name, f"camground.stages.{module}", function, panel)


def _command(name: str, module: str, function: str, panel: str) -> TyperCommand:
    spec = find_spec(module)
    if (
        spec is None
        or spec.origin is None
        or ("stages.command" not in Path(spec.origin).read_text() and name != "config")
    ):
        return _unconverted(name, module, panel)
    return to_command(name, getattr(importlib.import_module(module), function), panel)


def _unconverted(name: str, module: str, panel: str) -> TyperCommand:
    """A stage that parses its command line by itself."""

    def run(ctx: typer.Context) -> None:
        sys.argv = [name, *ctx.args]
        runpy.run_module(module, run_name="__main__", alter_sys=False)

    run.__doc__ = f"Stage `{name}`."
    app = typer.Typer(add_completion=False)
    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    app.command(name, rich_help_panel=panel, context_settings=settings)(run)
    return cast(TyperCommand, typer.main.get_command(app))


app = typer.Typer(cls=Commands, add_completion=False, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"camground {__version__}")
        raise typer.Exit


@app.callback()
def camground(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Weakly supervised visual grounding: from image-sentence pairs to boxes.

    The stages are run by `snakemake`, which passes their options; each also runs alone.
    """


def main() -> None:
    """The console script `camground`."""
    app(prog_name="camground")


if __name__ == "__main__":
    main()
