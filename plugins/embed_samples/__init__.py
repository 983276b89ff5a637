"""The App's door to embedding: vectors, the similarity index and the UMAP picture."""

from dataclasses import asdict
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.operators import estimates, round_forms
from curation.app.operators.base import RUN, Door
from curation.app.operators.execution import Outcome


class EmbedSamples(Door):
    """Makes a vector of every sample that has none."""

    button = "Embed"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="embed_samples",
            label="Curation: embed",
            description="Embed samples for similarity search, choosing and the UMAP picture",
            icon="scatter_plot",
            risk_level=types.RiskLevel.MEDIUM,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the manifest whose embedder is to run."""
        name = round_forms.ask_manifest(form, about="Its first embedding member makes the vectors")
        parsed = round_forms.read_manifest(form, name)
        if parsed is None:
            return
        embedders = parsed.of_tier("embedding")[:1]
        if not embedders:
            form.refuse(f"The manifest {name!r} has no member that embeds.", "manifest")
            return
        form.say(
            estimates.of_members(ctx.target_view(), parsed, embedders).sentence,
            "Vectors lie in a file, not in the samples; those that are there are not made again.",
        )

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Embed, and draw the picture."""
        from curation.api.datasets import connected, ensemble
        from curation.stages.embed import embed
        from curation.worker import model_cache

        samples = ctx.target_view()
        name = ctx.params.get("manifest") or round_forms.DEFAULT_MANIFEST
        folder = connected().vectors(ctx.dataset.name)
        members = model_cache.get(ensemble(samples, name))
        result = embed(samples, members, folder=folder, progress=bars("embed"))
        shown = "the panel `Embeddings` shows them" if result.umap else "too few for a picture"
        return Outcome(
            f"{result.embedder} made {result.added} vectors, {result.skipped} were there; {shown}.",
            asdict(result),
        )


def register(plugin: Any) -> None:
    """Hand the operator to FiftyOne; `fiftyone.yml` lists the same name."""
    plugin.register(EmbedSamples)
