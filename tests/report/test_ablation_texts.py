"""Numbers and tables as text: signs, escaping, Markdown and LaTeX of the ablation table."""

from __future__ import annotations

from pathlib import Path

import matplotlib.colors
import pytest

import fake_study
from camground.evaluation import statistics
from camground.evaluation.metric_table import GROUPINGS
from camground.report import charts
from camground.report.ablation_table import in_order, p_text, percent
from camground.report.config import ReportConfig
from camground.report.document import document
from camground.report.method_tables import escape_latex, markdown, render_latex, render_markdown
from camground.study import tables
from camground.study.errors import UserError
from report_page import Page, write_page


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
    assert [p_text(p) for p in (0.0004, 0.0126)] == ["< 0.001", "0.013"]
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
    assert {len(line) for line in lines} == {18}
    headings = [heading.strip() for heading in lines[0]]
    for metric in ("Acc@0.5", "Acc@0.75"):
        assert headings[headings.index(metric) + 1] == f"{metric}, no vote"


def test_a_p_that_no_resample_contradicts_is_never_given_as_a_number() -> None:
    smallest = statistics.floor(10_000)
    assert p_text(smallest, smallest) == "< 0.0002"
    assert p_text(3 * smallest, smallest) == "< 0.001"
    assert p_text(7 * smallest, 7 * smallest) == "< 0.0014"
    assert p_text(statistics.floor(100), statistics.floor(100)) == "< 0.02"
    assert p_text(0.0202, smallest) == "0.020"


def test_verdicts_follow_holm_alone_in_every_text_and_mark(tmp_path: Path) -> None:
    """An interval that excludes 0 beside an adjusted p of .098 shows no difference; one that holds 0, beside
    .004, does; a floor has no verdict whatever its interval."""
    root = fake_study.make(tmp_path / "toy")
    rows = tables.read("ablation", root / "ablation.parquet")
    rows = rows.set_index("variant", drop=False)
    tested = (rows["metric"] == "acc@0.5") & (rows["group"] == "all") & (rows["split"] == "test")
    values = ["difference", "low", "high", "p", "p_holm"]
    rows.loc[tested & (rows["variant"] == "no_cam_encoder"), values] = [-0.03, -0.05, -0.01, 0.0098, 0.098]
    rows.loc[tested & (rows["variant"] == "baseline"), values] = [-0.03, -0.05, 0.01, 0.001, 0.004]
    rows.loc[tested & (rows["variant"] == "no_attention_mining"), values] = [0.03, 0.01, 0.05, 0.0002, 0.0008]
    rows.loc[tested & (rows["variant"] == "gradcam_ranking"), values] = [0.0, -0.01, 0.01, 0.6, 0.6]
    tables.write("ablation", rows.reset_index(drop=True), root / "ablation.parquet")
    results = fake_study.results(root)
    expected = {
        **{"full": "", "no_cam_encoder": "no difference shown", "no_attention_mining": "better"},
        **{"baseline": "worse", "random": "", "gradcam_ranking": "no difference shown", "oracle": ""},
    }

    def cells(text: str, start: str, separator: str = "|") -> dict[str, list[str]]:
        lines = text.split(start)[1].splitlines()
        split = [[cell.strip() for cell in line.strip("|\\").split(separator)] for line in lines]
        return {line[0].replace("\\_", "_"): line for line in split[::-1] if len(line) > 3}

    markdown_rows = cells(render_markdown(results.table), "# Ablation")
    assert {name: markdown_rows[name][5] for name in expected} == expected
    latex_rows = cells(render_latex(results.table), "\\toprule", "&")
    assert {name: latex_rows[name][5] for name in expected} == expected
    text = document(root, "snakemake", "0123abcd")
    document_rows = cells(text, "## Difference from full")
    assert {name: document_rows[name][3] for name in expected if name != "full"} == {
        name: verdict for name, verdict in expected.items() if name != "full"
    }
    for written in (text, render_markdown(results.table)):
        assert "No difference from full shown (p ≥ 0.05 by Holm: a null result): no_cam_encoder, " in written
        assert "Worse than full (p < 0.05 by Holm): baseline.\n" in written
        assert "Better than full (p < 0.05 by Holm): no_attention_mining.\n" in written
    page = {line[0]: line[-1] for line in Page(write_page(root, tmp_path / "r.html"), "results").lines[1:]}
    assert page.pop("oracle") == "bound"
    assert page == {
        name: {"": "", "worse": "▼ worse", "better": "▲ better"}.get(verdict, f"○ {verdict}")
        for name, verdict in expected.items()
        if name != "oracle"
    }
    right = charts.accuracy(results).axes[1]
    marks = [line for line in right.lines if len(line.get_xdata()) == 1]
    white = matplotlib.colors.to_rgba("white")
    tested = {name: verdict for name, verdict in expected.items() if verdict or name == "full"}
    for mark, (name, verdict) in zip(marks, tested.items(), strict=True):
        assert mark.get_marker() == ("D" if name == "full" else "o")
        hollow = matplotlib.colors.to_rgba(mark.get_markerfacecolor()) == white
        assert hollow == (verdict == "no difference shown"), name


def test_the_groups_of_the_config_are_those_of_the_evaluation() -> None:
    assert ReportConfig().groups == tuple(GROUPINGS)
    with pytest.raises(UserError, match="names size twice"):
        ReportConfig.parse({"groups": ["size", "size"]})
