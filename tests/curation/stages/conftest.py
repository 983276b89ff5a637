import numpy as np
import pytest

from cascade import manifest
from cascade.ensemble import Ensemble
from cascade.models.detection.center_point import CenterPoint


@pytest.fixture(scope="session")
def make_ensemble(tmp_path_factory):
    """Return the maker of a real ensemble of one small detector with weights from a seed."""

    def make(seed):
        folder = tmp_path_factory.mktemp("ensemble")
        CenterPoint(classes=("cone", "vehicle"), size=64, width=8, seed=seed).save(folder / "small")
        text = f"""
            name: small
            taxonomy: roadwork_core
            members:
              - name: small
                tier: detection
                adapter: center_point
                source: {folder / "small"}
                license: Apache-2.0
            """
        made = Ensemble.from_manifest(manifest.parse(text))
        return Ensemble.load(made.save(folder / "ensemble"))

    return make


@pytest.fixture(scope="session")
def make_evaluation():
    """Return the maker of an evaluation whose decisions are right on a share of the images."""

    def make(identity, right, *, n=400, truth=None, slices=None):
        generator = np.random.default_rng(0)
        true = np.arange(n) % 2 if truth is None else np.asarray(truth)
        correct = generator.random(n) < right
        predicted = np.where(correct, true, 1 - true)
        return {
            "ensemble": identity,
            "split": "test",
            "n_images": n,
            "n_positive": int(true.sum()),
            "threshold": 0.5,
            "mcc": 2 * right - 1,
            "precision": right,
            "recall": right,
            "ece": 0.1,
            "map": 0.4,
            "map50": 0.6,
            "latency_ms": {"mean": 10.0, "p50": 9.0, "p99": 20.0, "n": 20},
            "samples": {
                "id": [f"id{i}" for i in range(n)],
                "drive": [f"drive{i // 4}" for i in range(n)],
                "truth": true.tolist(),
                "p": np.where(predicted, 0.9, 0.1).tolist(),
            }
            | ({"slices": slices} if slices else {}),
        }

    return make
