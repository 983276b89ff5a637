"""Print as JSON what a dataset holds, read by FiftyOne only, but for the way to the database.

Run as `python read_dataset.py NAME`, with CURATION_HOME set.
"""

import json
import sys
from pathlib import Path

import curation as cu


def main(name):
    """Print the content of the dataset of that name."""
    dataset = cu.load(name)
    schema = dataset.get_field_schema()
    hardness = [path for path in schema if path.startswith("hardness")]
    samples = {}
    for sample in dataset.sort_by("filepath").iter_samples():
        detections = {
            path: None if sample[path] is None else len(sample[path].detections)
            for path in ("ground_truth", "oracle", "consensus", "tiny_center", "tiny_rtdetr",
                         "tiny_yolo")
        }  # fmt: skip
        decision = next(
            (path for path in schema if type(sample[path]).__name__ == "Classification"), None
        )
        scalars = ("split", "drive", "time_s", "time_of_day", "weather", "labeled_round", "rank",
                   "chosen_because", "agreement", "n_voters", "cascade_path", "answered_by",
                   "tiers_reached", "expected_boxes", "content_hash", *hardness)  # fmt: skip
        samples[Path(sample.filepath).name] = {
            "id": sample.id,
            "tags": sorted(sample.tags),
            "detections": detections,
            "decision": None if decision is None else [decision, sample[decision].label],
            "fingerprints": {
                path: sample[path].fingerprint
                for path in ("consensus", "tiny_center", "tiny_rtdetr", "tiny_yolo")
                if sample[path] is not None
            },
            **{path: _plain(sample[path]) for path in scalars},
        }
    content = {
        "fields": {path: type(field).__name__ for path, field in schema.items()},
        "info": sorted(dataset.info["curation"]),
        "brain_runs": sorted(dataset.list_brain_runs()),
        "saved_views": sorted(dataset.list_saved_views()),
        "files_exist": all(Path(path).is_file() for path in dataset.values("filepath")),
        "samples": samples,
    }
    json.dump(content, sys.stdout, indent=1)


def _plain(value):
    return list(value) if isinstance(value, (list, tuple)) else value


main(sys.argv[1])
