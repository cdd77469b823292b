"""The study for readers: one HTML file that opens offline, and tables as Markdown and LaTeX.

- `ablation_table`: the ablation table, asked by names; numbers as text
- `method_tables`: tables of the methods for page, document and stage `ablation`, as Markdown and LaTeX
- `results`: the files of a study's folder (pure reading); `leakage`, `mining`: sections of it
- `charts`: matplotlib figures; `theme`: their colours, as PNG and as SVG on the page
- `gallery`: which expressions are shown, their pictures and heat maps, and a sheet of them
- `published`: what the literature says of a benchmark, beside this study
- `model_card`: what travels with the model; `drawing`: answers drawn into a photograph
- `page`: everything into `template.html`; `document`: a finished study as Markdown
"""
