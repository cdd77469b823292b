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

STAGES = (
    *("download", "data", "leakage", "proposals", "true_boxes", "tuning", "features", "matcher"),
    *("gradcam", "train", "predict", "evaluate", "methods", "baselines", "ablation", "report", "tracking"),
)
TOOLS = ("ground", "demo", "compare", "ui", "objectness", "document", "published", "config")
# A command is the function of its name in the module of its name, but for tools beside their stage.
MODULES = {"ui": "tracking", "objectness": "proposals", "document": "report", "published": "report"}


class Commands(TyperGroup):
    """The group of all commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*STAGES, *TOOLS]

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        """The command with no more than its description, its function's docstring."""
        if cmd_name not in self.list_commands(ctx):
            return None
        path = Path(__file__).parent / "stages" / f"{MODULES.get(cmd_name, cmd_name)}.py"
        functions = {
            node.name: ast.get_docstring(node)
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef)
        }
        panel = "Stages, in the workflow's order" if cmd_name in STAGES else "Tools"
        return TyperCommand(cmd_name, help=functions[cmd_name], rich_help_panel=panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that runs, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None:
            from camground.stages.command import to_command

            module = importlib.import_module(f"camground.stages.{MODULES.get(name, name)}")
            command = to_command(name, getattr(module, name))
        return name, command, rest


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
