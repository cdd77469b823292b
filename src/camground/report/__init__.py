"""The study as one HTML file that opens offline: table, charts, curves, and a gallery by a stated
rule.

- `results`: the files below R/D as what the page shows (pure reading)
- `main_table`: the ablation table's rows as cells
- `split_table`: the methods on every evaluated split, side by side
- `charts`, `contact_sheet`: matplotlib figures
- `theme`: their colours, and figures as PNG and as SVG that follows the page's theme
- `anatomy`: why answers are wrong, by group
- `mining`: the variants of attention mining, compared
- `published`, `published_table`: what the literature says of a benchmark, beside this study
- `study`: not of the page; a finished study as Markdown
- `gallery`: which expressions are shown, why each failed, pictures and heat maps
- `page`: everything into `template.html`
"""
