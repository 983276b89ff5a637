"""Panels called as the App calls them, and datasets to look at."""

import json

import panel_dataset
import pytest


class Told:
    """What the App is told: what the panel shows, and what else is to be done."""

    def __init__(self, requests, state):
        self._requests = json.loads(json.dumps(requests, default=str))
        self.state, self.data, self.drawn = dict(state), {}, {}
        for one in self._requests:
            verb, params = one["operator_uri"].rpartition("/")[2], one["params"]
            if verb == "patch_panel_state":
                self.state |= params["state"]
            elif verb == "patch_panel_data":
                self.data |= params["data"]
            elif verb == "show_panel_output":
                self.drawn = params["output"]["type"]["properties"]

    @property
    def pieces(self):
        return {one["name"]: one for one in self.state["page"]}

    @property
    def said(self):
        """Every notice, one text."""
        boxes = [one for one in self.pieces.values() if one["kind"] == "notice"]
        return " ".join(f"{one['label']}. {one['description']}" for one in boxes)

    def of(self, verb):
        return [
            one["params"] for one in self._requests
            if one["operator_uri"].rpartition("/")[2] == verb
        ]  # fmt: skip

    @property
    def shown(self):
        """The samples that the grid shows from now on, as stages; None where nothing changed."""
        found = self.of("set_view")
        return found[-1]["view"] if found else None


@pytest.fixture
def panel(execute):
    """Return `panel(uri, dataset, method, state, **params)`: what the App is told."""

    def call(uri, dataset, method="on_load", state=None, request=None, **params):
        outcome = execute(
            uri, dataset, panel_id="p", __method__=method, panel_state=state or {}, **params,
            request=request or {},
        )  # fmt: skip
        assert outcome.error is None, outcome.error
        return Told(outcome.executor.to_json()["requests"], state or {})

    return call


@pytest.fixture
def execute(database, monkeypatch):
    """As the App, which tells which sample is open and what is selected beside the parameters."""
    import asyncio
    from pathlib import Path

    import fiftyone as fo
    from fiftyone.operators.executor import execute_or_delegate_operator

    plugins = Path(__file__).parents[3] / "plugins"
    monkeypatch.setattr(fo.config, "plugins_dir", str(plugins))

    def run(operator, dataset, *, request, **params):
        told = {"dataset_name": dataset.name, "params": params, **request}
        return asyncio.run(
            execute_or_delegate_operator(f"@curation/{operator}", told, exhaust=True)
        )

    return run


@pytest.fixture(scope="module")
def whole(database):
    """300 samples of which a round is through; to look at."""
    import fiftyone as fo

    made = fo.Dataset()
    panel_dataset.fill(made, 300)
    panel_dataset.place(made)
    panel_dataset.choose(made, 1, 40)
    yield made
    made.delete()


@pytest.fixture
def stranger(dataset):
    """What somebody made with FiftyOne alone: names of their own, and nothing of ours."""
    import fiftyone as fo

    def boxes(*found):
        made = [
            fo.Detection(label=label, bounding_box=box, **({} if p is None else {"confidence": p}))
            for label, box, p in found
        ]
        return fo.Detections(detections=made)

    here, there = [0.2, 0.2, 0.3, 0.3], [0.7, 0.7, 0.2, 0.2]
    size = fo.ImageMetadata(width=640, height=480)
    dataset.add_samples(
        [
            fo.Sample(
                filepath=f"/theirs/{i}.jpg", metadata=size, town="Ulm" if i % 2 else "Graz",
                gt=boxes(("Hat", here, None)),
                v8=boxes(("Hat", here, 0.9)),
                rt=boxes(("Hat", there, 0.8)) if i % 3 else boxes(),
            )
            for i in range(24)
        ]
    )  # fmt: skip
    return dataset
