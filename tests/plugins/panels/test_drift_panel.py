"""Drift panel: comparisons, and results of jobs."""

from datetime import UTC, datetime

import fiftyone as fo
import numpy as np
import pytest
from panel_dataset import view_of

DRIFT = "watch_quality/drift_panel"


class TestDrift:
    @pytest.fixture
    def embedded(self, dataset, tmp_path):
        """100 samples of ten drives; the last ten are unlike the others."""
        from curation.storage.embeddings import brain_runs
        from curation.storage.embeddings.table import VectorTable

        rng = np.random.default_rng(0)
        dataset.add_samples(
            [fo.Sample(filepath=f"/{i:03d}.jpg", drive=f"d{i // 10}") for i in range(100)]
        )
        ids = dataset.values("id")
        vectors = rng.normal(0, 0.1, (100, 8)) + np.eye(8)[[0] * 90 + [1] * 10]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        brain_runs.record_embedder(dataset, tmp_path, "dino", "f")
        VectorTable(tmp_path, "f").add(ids, vectors.astype(np.float32))
        return dataset

    def test_grid_is_compared_with_other_images(self, panel, embedded):
        assert "Nothing has been compared" in panel(DRIFT, embedded).notices
        strange = embedded.match({"drive": "d9"})
        response = panel(DRIFT, embedded, "measure", selection="grid",
                     request={"view": strange._serialize()})  # fmt: skip
        assert "Unlike earlier images: 10 images in the grid" in response.notices
        (bars,) = response.data["distances"]
        assert sum(bars["y"]) == 10
        column = next(x for x, n in zip(bars["x"], bars["y"], strict=True) if n)
        shown = panel(DRIFT, embedded, "show_column", x=column)
        assert set(view_of(embedded, shown.view).values("id")) <= set(strange.values("id"))

    def test_too_few_images_are_an_error(self, panel, embedded):
        few = embedded.limit(2)
        response = panel(
            DRIFT, embedded, "measure", selection="grid", request={"view": few._serialize()}
        )
        assert "Too few images to compare" in response.of("notify")[0]["message"]

    def test_results_of_jobs_are_listed(self, panel, embedded):
        from curation.jobs.catch_up import Entry
        from curation.jobs.models import Job
        from curation.jobs.store import JobStore

        history = JobStore(embedded._sample_collection.database)
        due = datetime(2026, 1, 2, tzinfo=UTC)
        history.add(Job("watch-site", "drift", due, every_s=60, options={"dataset": embedded.name}))
        history.record("watch-site", [Entry(due, "refused", "60 % of 10 new images are farther")])
        (row,) = panel(DRIFT, embedded).data["jobs"]
        assert (row["job"], row["state"]) == ("watch-site", "refused")
        assert row["drift"].startswith("60 %")
        history.remove("watch-site")
