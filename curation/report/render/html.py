"""HTML rendering of a page: one self-contained file without scripts, fonts or links."""

from __future__ import annotations

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from curation.report.figures import to_svg
from curation.report.page import Page, Plot
from curation.report.render import thumbnails


def render(page: Page) -> str:
    """Return the HTML of a page; all data is escaped."""
    environment = Environment(
        loader=PackageLoader("curation.report.render", package_path=""),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        page=page,
        plot_uri=_plot_uri,
        picture_uri=thumbnails.to_data_uri,
        truth_color=thumbnails.TRUTH_COLOR,
        consensus_color=thumbnails.CONSENSUS_COLOR,
        min_probability=thumbnails.MIN_DRAWN_PROBABILITY,
    )


def _plot_uri(plot: Plot) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(to_svg(plot.draw())).decode()
