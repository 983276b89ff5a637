"""What the App is sent, from pages and from errors."""

import pytest

from curation.app.panels import renderer
from curation.app.panels.components import Action, Button, Buttons, Notice, Page, Plot, Table, Text
from curation.errors import StageError


class Ops:
    def __init__(self):
        self.told = []

    def notify(self, message, variant):
        self.told.append((variant, message))


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


class Door:
    uri = "@curation/x/y"

    def click(self, ctx):
        """Something that a plot can call."""


def test_what_is_shown_goes_to_data_and_what_describes_it_to_state():
    ctx = Context()
    plot = Plot("p", "P", [{"x": [1]}], {"height": 100}, on_click="click")
    renderer.show(ctx, lambda _: Page.of(Text("t", "words"), None, plot))
    assert ctx.panel.data == {"t": "words", "p": [{"x": [1]}]}
    assert [one["name"] for one in ctx.panel.state["page"]] == ["t", "p"]
    assert "traces" not in ctx.panel.state["page"][1]


def test_an_expected_error_is_words_on_the_page():
    ctx = Context()

    def make(_):
        raise StageError("Run `curate embed` first.")

    renderer.show(ctx, make)
    (notice,) = ctx.panel.state["page"]
    assert (notice["severity"], notice["description"]) == ("warning", "Run `curate embed` first.")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        renderer.show(Context(), lambda _: 1 / 0)


def test_without_a_dataset_the_page_says_so():
    ctx = Context(dataset=None)
    renderer.show(ctx, lambda _: Page.of())
    assert ctx.panel.state["page"][0]["label"] == "No dataset is open"


def test_what_was_attempted_is_told_either_way():
    ctx = Context()

    def refuse():
        raise StageError("Not yet.")

    assert renderer.attempt(ctx, lambda: "Done.")
    assert not renderer.attempt(ctx, refuse)
    assert ctx.ops.told == [("success", "Done."), ("error", "Not yet.")]


def test_actions_of_a_row_name_their_rows():
    ctx = Context()
    table = Table("t", "T", {"a": "A"}, [{"a": 1}, {"a": 2}],
                  (Action("click", "Click", "check", (True, False)),))  # fmt: skip
    page = Page.of(table, Buttons("b", (Button("click", "Go"),)), Notice("n", "N"))
    renderer.show(ctx, lambda _: page)
    drawn = renderer.render(Door(), ctx).to_json()["type"]["properties"]
    (action,) = drawn["t"]["view"]["row_actions"]
    assert action["rows"] == [True, False]
    assert action["on_click"] == "@curation/x/y#click"
