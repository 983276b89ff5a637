import asyncio
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"


@pytest.fixture
def execute(database, monkeypatch):
    """Return `execute(operator, dataset, **params)`, which returns the App's response."""
    import fiftyone as fo
    from fiftyone.operators.executor import execute_or_delegate_operator

    monkeypatch.setattr(fo.config, "plugins_dir", str(PLUGINS))
    monkeypatch.setattr(fo.config, "plugins_cache_enabled", True)  # executes no plugin twice

    def run(operator, dataset, *, delegate=False, **params):
        request = {"dataset_name": dataset.name, "params": params, "request_delegation": delegate}
        uri = f"@curation/{operator}"
        return asyncio.run(execute_or_delegate_operator(uri, request, exhaust=True))

    return run


@pytest.fixture
def form(database, monkeypatch):
    """Return `form(operator, dataset, **params)`, which returns the form's inputs by name."""
    import fiftyone as fo
    from fiftyone.operators.executor import resolve_type
    from fiftyone.operators.registry import OperatorRegistry

    monkeypatch.setattr(fo.config, "plugins_dir", str(PLUGINS))
    monkeypatch.setattr(fo.config, "plugins_cache_enabled", True)

    def resolve(operator, dataset, **params):
        request = {"dataset_name": dataset.name, "params": params, "target": "inputs"}
        prop = asyncio.run(resolve_type(OperatorRegistry(), f"@curation/{operator}", request))
        return prop.type.properties

    return resolve


@pytest.fixture
def compared(dataset):
    """A dataset on whose samples two members agree, half agree, and disagree."""
    import fiftyone as fo

    def boxes(*entries):
        return fo.Detections(
            detections=[
                fo.Detection(label=label, bounding_box=[0.2, 0.2, 0.4, 0.4], confidence=p)
                for label, p in entries
            ]
        )

    size = fo.ImageMetadata(width=640, height=480)
    dataset.add_samples(
        [
            fo.Sample(filepath=f"/{name}.jpg", metadata=size, yolo=boxes(*yolo), detr=boxes(*detr))
            for name, yolo, detr in (
                ("agree", [("cone", 0.97)], [("cone", 0.97)]),
                ("unsure", [("cone", 0.60)], [("cone", 0.95)]),
                ("disagree", [("cone", 0.97)], []),
            )
        ]
    )
    return dataset
