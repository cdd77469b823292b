"""What `mkdocs.yml` cannot say: documents that lie above docs/ are pages, headings have the forge's anchors.

README.md is the first page. A link to any other file of the repository leads to the forge.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify
from pymdownx.superfences import fence_code_format

TOP = Path(__file__).parents[1]
# Documents at the top of the repository, and the pages that they are here.
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_config(config: MkDocsConfig) -> None:
    config.mdx_configs["toc"] = {"permalink": True, "slugify": slugify(case="lower")}
    mermaid = {"name": "mermaid", "class": "mermaid", "format": fence_code_format}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [mermaid]}


def on_files(files: Files, config: MkDocsConfig) -> None:
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(TOP / name).read_text(encoding="utf-8")))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    folder = "." if page.file.src_uri in PAGES.values() else "docs"

    def link(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        path = posixpath.normpath(posixpath.join(folder, path))
        if path in PAGES:
            return f"]({PAGES[path]}{anchor})"
        if path.startswith("docs/"):
            return f"]({path.removeprefix('docs/')}{anchor})"
        return f"]({config.repo_url}/blob/main/{path}{anchor})"

    return re.sub(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)", link, markdown)
