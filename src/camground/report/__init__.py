"""The study as one HTML file that opens offline: table, charts, curves, and a gallery by a stated
rule.

- `results`: the files below R/D as what the page shows (pure reading)
- `main_table`: the ablation table's rows as cells
- `charts`: matplotlib figures, as SVG that follows the page's theme and as PNG
- `gallery`: which expressions are shown, why each failed, pictures and heat maps
- `page`: everything into `template.html`
"""
