"""The documentation site: ``sphinx-build -W -c docs . build/docs`` from the top of the checkout.

The checkout is the source folder, so that links between pages mean the same here and on a code host.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "site_parts")]

from simhw.version import __version__  # noqa: E402 (from this checkout)

project = "simhw"
copyright = "the authors of simhw"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "index", "commands", "constants"]
root_doc = "docs/README"
include_patterns = ["docs/*.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "traces/README.md", "reports/**.md"]
exclude_patterns = [
    # Folders that need not be walked.
    *(".*", "build", "dist", "runs", "tests", "simhw", "workloads", "notebooks"),
    # Tables that runs print: files to fetch, without a heading.
    "reports/resnet50_*.md",
]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
# The first heading of a page that begins lower, as those of reports may, is no fault.
suppress_warnings = ["myst.header"]
highlight_language = "none"
smartquotes = False  # they make a dash of the two of an option

autodoc_typehints = "none"  # the docstrings say types, with shapes and units
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"simhw {release}"
html_copy_source = False
html_show_sphinx = False
html_additional_pages = {"index": "to_first_page.html"}
templates_path = ["site_parts"]
html_static_path = ["site_parts/static"]
html_css_files = ["site.css"]
