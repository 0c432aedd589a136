"""The site's menu, from the tables of docs/README.md: a group for each table, a page for each row.

So a page is listed once, for the reader on a code host and for the site.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

GROUP = re.compile(r"^\*\*(?P<title>.+)\*\*$|^\| \[(?P<name>[^\]]+)\]\((?P<page>[^)#]+)\.md\) \|", re.MULTILINE)


def _with_menu(app: Sphinx, page: str, content: list[str]) -> None:
    """Add a hidden table of contents for each group of the index, and one of all reports to theirs."""
    if page == "reports/README":
        content[0] += "\n:::{toctree}\n:hidden:\n:glob:\n*\npapers/*\n:::\n"
    if page != app.config.root_doc:
        return
    menu = []
    for found in GROUP.finditer(content[0]):
        if found["title"]:
            menu.append(f":::\n\n:::{{toctree}}\n:hidden:\n:caption: {found['title']}\n")
        else:
            menu.append(f"{found['name']} <{found['page']}>")
    content[0] += "\n" + "\n".join(menu).removeprefix(":::\n") + "\n:::\n"


def _without_folders(app: Sphinx, page: nodes.document) -> None:
    """Make a link to a folder of the checkout, which a code host shows and the site does not have, its text alone."""
    for link in list(page.findall(pending_xref)):
        if link["reftype"] == "myst" and (Path(app.srcdir, link["refdoc"]).parent / link["reftarget"]).is_dir():
            link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Listen to what Sphinx reads and cannot resolve."""
    app.connect("source-read", _with_menu)
    app.connect("doctree-read", _without_folders)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
