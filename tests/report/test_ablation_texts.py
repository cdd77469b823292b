"""Numbers and tables as text: signs, escaping, Markdown and LaTeX of the ablation table."""

from __future__ import annotations

from pathlib import Path

import pytest

import fake_study
from camground.evaluation.metric_table import GROUPINGS
from camground.report.ablation_table import in_order, p_text, percent
from camground.report.config import ReportConfig
from camground.report.method_tables import escape_latex, markdown, render_latex, render_markdown
from camground.study.errors import UserError


def test_escaping() -> None:
    assert escape_latex("a_b & 50% ± −1") == "a\\_b \\& 50\\% $\\pm$ $-$1"
    assert markdown(["a", "b"], [["x|y", "1"]]).splitlines() == [
        "| a    |   b |",
        "|:-----|----:|",
        "| x\\|y |   1 |",
    ]


@pytest.mark.parametrize(
    ("value", "signed", "plain"),
    [(-0.0002, "−0.0", "0.0"), (0.0002, "+0.0", "0.0"), (0.0, "+0.0", "0.0"), (-0.0, "+0.0", "0.0"),
     (-0.123, "−12.3", "−12.3"), (0.5, "+50.0", "50.0")],
)  # fmt: skip
def test_a_difference_that_rounds_to_nothing_keeps_its_side(value: float, signed: str, plain: str) -> None:
    assert percent(value, sign=True) == signed
    assert percent(value) == plain


def test_small_p_and_the_order_of_groups() -> None:
    assert [p_text(p) for p in (None, 0.0004, 0.0126)] == ["–", "< 0.001", "0.013"]
    assert in_order(["large", "small", "medium"]) == ["small", "medium", "large"]
    assert in_order(["10+", "2", "ref+", "ref"]) == ["ref", "ref+", "2", "10+"]


def test_the_texts_have_every_method_and_split(tmp_path: Path) -> None:
    table = fake_study.results(fake_study.make(tmp_path / "toy")).table
    text, latex = render_markdown(table), render_latex(table)
    methods = [*fake_study.VARIANTS, *fake_study.BASELINES]
    names = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert names[: 1 + len(methods)] == ["Method", *methods]
    assert "## Split val: " in text
    assert "p (Holm)" not in text.split("## Split val")[1]
    lines = [line.split(" & ") for line in latex.splitlines() if line.endswith("\\\\")]
    assert [line[0].strip() for line in lines[1:]] == [escape_latex(name) for name in methods]
    assert {len(line) for line in lines} == {15}
    headings = [heading.strip() for heading in lines[0]]
    for metric in ("Acc@0.5", "Acc@0.75"):
        assert headings[headings.index(metric) + 1] == f"{metric}, no vote"


def test_the_groups_of_the_config_are_those_of_the_evaluation() -> None:
    assert ReportConfig().groups == tuple(GROUPINGS)
    with pytest.raises(UserError, match="names size twice"):
        ReportConfig.parse({"groups": ["size", "size"]})
