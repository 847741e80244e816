"""How Sphinx makes a site of the guides: `sphinx-build -W --keep-going -b html docs build/docs`."""

import re
from os.path import relpath
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

import clbench

project, author = "clbench", "the clbench authors"
version = release = clbench.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]  # as GitHub has it
myst_heading_anchors = 3

default_role = "py:obj"  # backticks in docstrings: code, and a link if it is a name that is documented
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
napoleon_use_ivar, napoleon_use_rtype = True, False

html_theme = "furo"
html_title = "clbench"
html_static_path, html_css_files = ["_static"], ["site.css"]
html_copy_source = html_show_copyright = False
html_math_renderer = "mathml"

DOCS = Path(__file__).parent
PAGES = {
    DOCS.parent / "README.md": DOCS / "index.md",
    DOCS.parent / "CHANGELOG.md": DOCS / "changelog.md",
    DOCS.parent / "CONTRIBUTING.md": DOCS / "contributing.md",
}
"""Files of the repository that pages of the site include."""

LINK = re.compile(r"(?<=\]\()(?!\w+:|#)[^)#]+")


def _relinked(text: str, file: Path, page: Path) -> str:
    """Return Markdown with links that are right for `file` in the repository made right for `page` in the site."""

    def link(found: re.Match[str]) -> str:
        target = (file.parent / found[0]).resolve()
        place = relpath(PAGES.get(target, target), page.parent)
        elsewhere = target.suffix == ".md" and target not in PAGES and DOCS not in target.parents
        return f"path:{place}" if elsewhere else place

    return LINK.sub(link, text)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    page = DOCS / f"{name}.md"
    source[0] = _relinked(source[0], page, page)


def _include(app: Sphinx, path: Path, name: str, source: list[str]) -> None:
    file = (DOCS / path).resolve()
    source[0] = _relinked(source[0], file, PAGES[file])


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Links become the site's; formulas become MathML, which browsers show without a script from the net."""
    app.connect("source-read", _read)
    app.connect("include-read", _include)
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
