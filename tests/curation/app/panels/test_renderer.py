"""Requests to the App, from pages and from errors."""

import pytest

from curation.app.panels import renderer
from curation.app.panels.components import Action, Button, Buttons, Notice, Page, Plot, Table, Text
from curation.errors import StageError


class Ops:
    def __init__(self):
        self.messages = []

    def notify(self, message, variant):
        self.messages.append((variant, message))


class Panel:
    """The part of FiftyOne's panel reference that pages use."""

    def __init__(self):
        self.state, self.data = {}, {}

    def set_state(self, key, value):
        self.state[key] = value

    def get_state(self, key):
        return self.state.get(key)

    def set_data(self, key, value):
        self.data[key] = value


class Context:
    def __init__(self, dataset="some"):
        self.dataset, self.panel, self.ops = dataset, Panel(), Ops()


class ClickablePanel:
    uri = "@curation/x/y"

    def click(self, ctx):
        """Target of a click."""


def test_content_goes_to_data_and_description_to_state():
    ctx = Context()
    plot = Plot("p", "P", [{"x": [1]}], {"height": 100}, on_click="click")
    renderer.show(ctx, lambda _: Page.of(Text("t", "words"), None, plot))
    assert ctx.panel.data == {"t": "words", "p": [{"x": [1]}]}
    assert [component["name"] for component in ctx.panel.state["page"]] == ["t", "p"]
    assert "traces" not in ctx.panel.state["page"][1]


def test_expected_error_is_shown_on_page():
    ctx = Context()

    def build_page(_):
        raise StageError("Run `curate embed` first.")

    renderer.show(ctx, build_page)
    (notice,) = ctx.panel.state["page"]
    assert (notice["severity"], notice["description"]) == ("warning", "Run `curate embed` first.")


def test_unexpected_error_is_raised():
    with pytest.raises(ZeroDivisionError):
        renderer.show(Context(), lambda _: 1 / 0)


def test_page_without_dataset():
    ctx = Context(dataset=None)
    renderer.show(ctx, lambda _: Page.of())
    assert ctx.panel.state["page"][0]["label"] == "No dataset is open"


def test_action_notifies_of_success_and_of_error():
    ctx = Context()

    def fail():
        raise StageError("Not yet.")

    assert renderer.run_action(ctx, lambda: "Done.")
    assert not renderer.run_action(ctx, fail)
    assert ctx.ops.messages == [("success", "Done."), ("error", "Not yet.")]


def test_row_actions_have_a_mask_of_rows():
    ctx = Context()
    table = Table("t", "T", {"a": "A"}, [{"a": 1}, {"a": 2}],
                  (Action("click", "Click", "check", (True, False)),))  # fmt: skip
    page = Page.of(table, Buttons("b", (Button("click", "Go"),)), Notice("n", "N"))
    renderer.show(ctx, lambda _: page)
    drawn = renderer.render(ClickablePanel(), ctx).to_json()["type"]["properties"]
    (action,) = drawn["t"]["view"]["row_actions"]
    assert action["rows"] == [True, False]
    assert action["on_click"] == "@curation/x/y#click"
