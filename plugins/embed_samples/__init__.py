"""FiftyOne operator: embed samples."""

from dataclasses import asdict
from typing import Any

from fiftyone.operators import ExecutionContext

from curation.app.operators import estimates, round_forms
from curation.app.operators.base import CurationOperator, operator_config
from curation.app.operators.execution import Outcome
from curation.app.operators.forms import Form, parameter
from curation.app.operators.progress import StageProgress


class EmbedSamples(CurationOperator):
    """Computes embeddings for samples that have none."""

    submit_label = "Embed"
    config = operator_config(
        name="embed_samples",
        label="Curation: embed",
        description="Embed samples for similarity search, selection and the UMAP plot",
        icon="scatter_plot",
        risk_level="MEDIUM",
        step=3,
    )

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the manifest to the form, and show the estimate."""
        name = round_forms.select_manifest(
            form, description="Its first embedding member computes the vectors"
        )
        manifest = round_forms.load_manifest(form, name)
        if manifest is None:
            return
        embedders = manifest.of_tier("embedding")[:1]
        if not embedders:
            form.error(f"The manifest {name!r} has no embedding member.", "manifest")
            return
        form.note(
            estimates.estimate_run(ctx.target_view(), manifest, embedders).sentence,
            "Vectors are stored in a file, not in the samples. Existing vectors are kept.",
        )

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Embed the samples, and compute the UMAP plot."""
        from curation.api.datasets import connected, ensemble
        from curation.stages.embed import embed
        from curation.worker import model_cache

        samples = ctx.target_view()
        name = parameter(ctx, "manifest", round_forms.DEFAULT_MANIFEST)
        folder = connected().vectors(ctx.dataset.name)
        members = model_cache.get(ensemble(samples, name))
        result = embed(samples, members, folder=folder, progress=stage_progress("embed"))
        plot = "see the panel `Embeddings`" if result.umap else "too few samples for a plot"
        return Outcome(
            f"{result.embedder} made {result.added} vectors, {result.skipped} existed; {plot}.",
            asdict(result),
        )


def register(plugin: Any) -> None:
    """Register the operator with FiftyOne."""
    plugin.register(EmbedSamples)
