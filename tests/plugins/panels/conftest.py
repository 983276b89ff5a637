"""Calls of panels as by the App, and datasets for them."""

import json

import panel_dataset
import pytest


class Response:
    """Requests to the App: the panel's content and other actions."""

    def __init__(self, requests, state):
        self._requests = json.loads(json.dumps(requests, default=str))
        self.state, self.data, self.drawn = dict(state), {}, {}
        for request in self._requests:
            verb, params = request["operator_uri"].rpartition("/")[2], request["params"]
            if verb == "patch_panel_state":
                self.state |= params["state"]
            elif verb == "patch_panel_data":
                self.data |= params["data"]
            elif verb == "show_panel_output":
                self.drawn = params["output"]["type"]["properties"]

    @property
    def components(self):
        return {component["name"]: component for component in self.state["page"]}

    @property
    def notices(self):
        """All notices, joined."""
        notices = [c for c in self.components.values() if c["kind"] == "notice"]
        return " ".join(f"{notice['label']}. {notice['description']}" for notice in notices)

    def of(self, verb):
        return [
            request["params"] for request in self._requests
            if request["operator_uri"].rpartition("/")[2] == verb
        ]  # fmt: skip

    @property
    def view(self):
        """The new view of the grid, as stages; None if it did not change."""
        views = self.of("set_view")
        return views[-1]["view"] if views else None


@pytest.fixture
def panel(execute):
    """Return `panel(uri, dataset, method, state, **params)`, which returns a `Response`."""

    def call(uri, dataset, method="on_load", state=None, request=None, **params):
        outcome = execute(
            uri, dataset, panel_id="p", __method__=method, panel_state=state or {}, **params,
            request=request or {},
        )  # fmt: skip
        assert outcome.error is None, outcome.error
        return Response(outcome.executor.to_json()["requests"], state or {})

    return call


@pytest.fixture
def execute(database, monkeypatch):
    """A call as by the App, which sends the open sample and the selection with the parameters."""
    import asyncio
    from pathlib import Path

    import fiftyone as fo
    from fiftyone.operators.executor import execute_or_delegate_operator

    plugins = Path(__file__).parents[3] / "plugins"
    monkeypatch.setattr(fo.config, "plugins_dir", str(plugins))

    def run(operator, dataset, *, request, **params):
        content = {"dataset_name": dataset.name, "params": params, **request}
        return asyncio.run(
            execute_or_delegate_operator(f"@curation/{operator}", content, exhaust=True)
        )

    return run


@pytest.fixture(scope="module")
def scenes(database):
    """300 samples with a complete round, to be read only."""
    import fiftyone as fo

    dataset = fo.Dataset()
    panel_dataset.fill(dataset, 300)
    panel_dataset.place(dataset)
    panel_dataset.choose(dataset, 1, 40)
    yield dataset
    dataset.delete()


@pytest.fixture
def foreign(dataset):
    """A dataset made with FiftyOne alone: other field names, and nothing of ours."""
    import fiftyone as fo

    def boxes(*entries):
        detections = [
            fo.Detection(label=label, bounding_box=box, **({} if p is None else {"confidence": p}))
            for label, box, p in entries
        ]
        return fo.Detections(detections=detections)

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
