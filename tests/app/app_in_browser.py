"""One tab of the App, operated through its user interface."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLOT = ".js-plotly-plot"


@dataclass
class App:
    """The tab.

    Attributes:
        page: Page of Playwright.
        url: Address of the server.
        shots: Folder of screenshots.
        until: Function that waits for a condition.
    """

    page: Any
    url: str
    shots: Path
    until: Callable[..., Any]

    def open(self, dataset: str) -> None:
        """Open a dataset and wait for its grid."""
        slug = re.sub(r"[^\w-]+", "-", dataset).strip("-").lower()
        self.page.goto(f"{self.url}/datasets/{slug}")
        self.page.wait_for_selector("[data-cy=fo-grid], [data-cy=looker]", timeout=90_000)
        for notice in ("Dismiss", "Close"):
            with contextlib.suppress(Exception):  # only shown to new users
                self.page.get_by_text(notice, exact=True).first.click(timeout=700)

    @property
    def prompt(self) -> Any:
        """Form or result of an operator."""
        return self.page.locator("[data-cy=operators-prompt-modal]")

    def run_operator(self, label: str) -> Any:
        """Open an operator by its label in the list of operators; return its form."""
        self.page.keyboard.press("Escape")
        self.page.evaluate("document.activeElement && document.activeElement.blur()")
        self.page.locator("body").press("`")
        box = self.page.get_by_placeholder("Search operations by name...")
        box.wait_for(timeout=20_000)
        box.fill(label)
        self.page.get_by_text(label, exact=True).first.click()
        return self.prompt

    def close_prompt(self) -> None:
        """Close the result of an operator, once it is shown."""
        self.page.get_by_role("button", name=re.compile("^(Done|Close)$")).last.click()
        self.prompt.wait_for(state="hidden")

    def panel(self, label: str) -> None:
        """Open a panel from the `+` next to the tabs, and wait for its content."""
        self.page.locator("[data-cy=new-panel-btn]").first.click()
        self.page.locator("[data-cy^=new-panel-option]").get_by_text(label, exact=True).click()
        self.page.wait_for_selector(f"{PLOT}, table, .MuiAlert-root", timeout=60_000)

    def plot(self, heading: str) -> Any:
        """Return the plot under a heading, once its position is stable: Plotly draws twice."""
        below = self.page.get_by_text(heading, exact=True).first
        below.wait_for()
        plot, last = None, None
        for _ in range(60):
            top = below.bounding_box()["y"]
            plots = [p for p in self.page.locator(PLOT).all() if p.bounding_box()["y"] > top]
            plot = min(plots, key=lambda p: p.bounding_box()["y"], default=None)
            box = plot and plot.bounding_box()
            if box is not None and box == last:
                return plot
            last = box
            self.page.wait_for_timeout(1000)
        raise AssertionError(f"the plot under {heading!r} does not become stable")

    def lasso(self, heading: str, *, right: float, bottom: float) -> None:
        """Draw a lasso around the upper left of a plot, up to these shares of its size."""
        self.plot(heading).scroll_into_view_if_needed()
        box = self.plot(heading).bounding_box()
        low = (box["x"] + 30, box["y"] + 50)
        high = (box["x"] + box["width"] * right, box["y"] + box["height"] * bottom)
        mouse = self.page.mouse
        mouse.move(*low)
        mouse.down()
        for x, y in ((high[0], low[1]), high, (low[0], high[1]), low):
            mouse.move(x, y, steps=12)
        mouse.up()

    def tag_grid(self, tag: str) -> None:
        """Tag the grid from the hardness panel."""
        box = self.page.get_by_text("A tag such as").locator("xpath=following::input[1]")
        box.fill(tag)
        box.press("Tab")
        self.page.get_by_text("Tag the selected samples, or the whole grid").click()

    def count(self) -> int:
        """Return the number of samples in the grid."""
        text = self.page.locator("[data-cy=entry-counts]").inner_text()
        return int(re.sub(r"[^\d]", "", text.split("sample", maxsplit=1)[0]) or 0)

    def click_until_narrowed(self, x: float, y: float, expected: int) -> None:
        """Click into a plot, and wait until the grid has the expected number of samples."""
        self.page.mouse.move(x, y)
        self.page.wait_for_timeout(300)  # Plotly reports a click on the hovered mark
        self.page.mouse.click(x, y)
        self.until(
            lambda: self.count() == expected,
            within_s=60,
            saying=lambda: f"the grid shows {self.count()}, not {expected}",
        )

    def shot(self, name: str) -> Path:
        """Save a screenshot of the tab; return its file."""
        file = self.shots / f"{name}.png"
        self.page.screenshot(path=file)
        return file
