"""The page as HTML: templates filled by Jinja, which escapes every text, with style and script within."""

import hashlib
import os
from base64 import b64encode
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from simhw.files.writing import PAGE_SUFFIXES, check_suffix, replacing
from simhw.report.page.bars import draw_bars, draw_mini
from simhw.report.page.model import LimitsPage, Page, SweepPage
from simhw.report.page.scatter import draw_intervals, draw_roofline, draw_scatter, draw_swatch, series_of
from simhw.report.page.waterfall import draw_waterfall
from simhw.version import __version__

PACKAGE = "simhw.report.page"
AnyPage = Page | LimitsPage | SweepPage
TEMPLATES: dict[type[AnyPage], str] = {
    Page: "page.html",
    LimitsPage: "limits.html",
    SweepPage: "sweep.html",
}


def page_html(page: AnyPage) -> str:
    """The page as a document that needs no other file and no network."""
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    template = _environment().get_template(TEMPLATES[type(page)])
    # Our own files, in which nothing is filled in.
    return template.render(page=page, version=__version__, policy=policy, style=Markup(style), script=Markup(script))


def write_page(page: AnyPage, path: str | os.PathLike[str]) -> None:
    """Write the page to a file.

    Raises
    ------
    SimhwError
        The name does not end in ``.html``, or the place cannot be written.
    """
    check_suffix(path, PAGE_SUFFIXES)
    with replacing(path) as temporary:
        # A path of a trace may have bytes that are no text.
        temporary.write_text(page_html(page), encoding="utf-8", errors="replace")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(PACKAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    drawing = (
        draw_bars,
        draw_mini,
        draw_roofline,
        draw_intervals,
        draw_scatter,
        draw_swatch,
        draw_waterfall,
        series_of,
    )
    environment.globals.update({each.__name__: each for each in drawing})
    return environment


@cache
def _asset(name: str) -> str:
    return files(PACKAGE).joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """By which a browser's policy knows a style or script that stands in the page."""
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
