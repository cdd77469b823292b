"""`camground <command>`: every stage of the workflow and every tool.

A command's module is imported when the command runs; the list of all commands takes their descriptions from
the source. What is heavy (PyTorch, pandas) is imported by the command itself.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from camground import __version__

# The command: the module in camground.stages and its function.
STAGES = {
    name: (name, name)
    for name in (
        *("download", "data", "leakage", "proposals", "features", "matcher", "gradcam", "train"),
        *("predict", "evaluate", "baselines", "ablation", "report", "tracking"),
    )
}
TOOLS = {
    "ground": ("ground", "ground"),
    "ui": ("tracking", "ui"),
    "selection": ("selection", "selection"),
    "objectness": ("proposals", "objectness"),
    "document": ("report", "document"),
    "published": ("report", "published"),
    "config": ("config", "config"),
}
COMMANDS = STAGES | TOOLS


class Commands(TyperGroup):
    """The group of all commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        """The command with no more than its description."""
        if cmd_name not in COMMANDS:
            return None
        panel = "Stages, in the workflow's order" if cmd_name in STAGES else "Tools"
        return TyperCommand(cmd_name, help=_description(cmd_name), rich_help_panel=panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that runs, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else _imported(name), rest


def _description(name: str) -> str | None:
    """The docstring of a command's function."""
    module, function = COMMANDS[name]
    path = Path(__file__).parent / "stages" / f"{module}.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return ast.get_docstring(node)
    return None


def _imported(name: str) -> TyperCommand:
    from camground.stages.command import to_command

    module, function = COMMANDS[name]
    return to_command(name, getattr(importlib.import_module(f"camground.stages.{module}"), function))


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

    `snakemake` runs the stages and passes their options; each can also be run by itself.
    """


def main() -> None:
    """The console script `camground`."""
    app(prog_name="camground")


if __name__ == "__main__":
    main()
