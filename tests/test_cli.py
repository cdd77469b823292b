"""The command `camground`: quick, light, and one for every stage and tool."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from camground import __version__
from camground.cli import STAGES, TOOLS, app

RULES = Path(__file__).resolve().parents[1] / "rules"
HEAVY = ("torch", "pandas", "numpy", "pyarrow", "mlflow", "transformers", "matplotlib", "snakemake")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments, terminal_width=200, prog_name="camground")
    return result.exit_code, re.sub(r"\x1b\[[0-9;]*m", "", result.output)


def test_help_loads_little_and_nothing_heavy() -> None:
    """Modules are counted: seconds depend on the machine, and on whether they were compiled."""
    program = (
        "import sys\nsys.argv = ['camground', '--help']\n"
        "from camground.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('heavy:', [name for name in {HEAVY} if name in sys.modules], len(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    heavy, count = done.stdout.splitlines()[-1].rsplit(" ", 1)
    assert heavy == "heavy: []", done.stderr
    assert int(count) < 450  # 320 when this was written; numpy alone brings 100, torch 1,000


def test_help_lists_every_stage_in_order_and_every_tool() -> None:
    code, text = run("--help")
    assert code == 0
    listed = re.findall(r"^│ ([a-z_]+) +\S", text, re.M)
    assert listed == [*STAGES, *TOOLS]
    assert text.index("Stages") < text.index("Tools")


@pytest.mark.parametrize("name", [*STAGES, *TOOLS])
def test_every_command_explains_itself(name: str) -> None:
    code, text = run(name, "--help")
    assert code == 0
    assert f"Usage: camground {name}" in text
    assert len(text.splitlines()) > 8


def test_every_rule_s_command_is_a_stage() -> None:
    called = {
        name
        for file in RULES.glob("*.smk")
        for name in re.findall(r'^ +"camground (\w+) ', file.read_text(), re.M)
    }
    assert called == set(STAGES)


def test_version_and_mistakes() -> None:
    assert run("--version") == (0, f"camground {__version__}\n")
    assert run("trian")[0] == 2
    code, text = run("train", "--config", "{}")
    assert code == 2
    assert "Missing option" in text


def test_a_user_error_is_one_line_and_status_1() -> None:
    code, text = run("config", "check", "no/such.yaml")
    assert code == 1
    assert text.endswith("[config] error: no/such.yaml: No such file or directory\n")
    assert len(text.splitlines()) == 1
