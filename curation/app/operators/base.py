"""The operator that ours inherit: a form, a call, and a result that says what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fiftyone.operators as foo

from curation.app.operators import outputs
from curation.app.operators.execution import Outcome, run
from curation.app.operators.forms import Form
from curation.app.operators.progress import Bars

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

MANY_SAMPLES = 2000  # more are better queued

# How all of ours are run; an operator adds its name, label, icon and risk.
RUN = {
    "dynamic": True,
    "execute_as_generator": True,
    "allow_immediate_execution": True,
    "allow_delegated_execution": True,
}
AT_ONCE = {**RUN, "allow_delegated_execution": False}  # what is no work for a worker


class _Options(foo.ExecutionOptions):  # type: ignore[misc] # FiftyOne has no types
    """Offers to queue, whether or not a worker has registered: ours take what is for anybody.

    By default the App shows `Schedule` as not available where none of Enterprise's orchestrators
    has registered.
    """

    @property
    def orchestrator_registration_enabled(self) -> bool:
        """Whether only registered workers are offered: never."""
        return False


class Door(foo.Operator):  # type: ignore[misc] # FiftyOne has no types
    """What our operators have in common.

    One of ours gives `config`, `ask` and `work`. From Python it is called with a dataset or view
    and its parameters, and in a notebook the call is awaited:

        predict = foo.get_operator("@curation/predict_cascade/predict_cascade")
        result = predict(dataset, manifest="tiny").result
        result = (await predict(dataset, manifest="tiny")).result

    Attributes:
        looks_at: What it works on: the samples of the view that the form offers to choose, the
            whole dataset, or none.
        button: On the form.
    """

    looks_at = "samples"
    button = "Run"

    def __call__(
        self,
        samples: SampleCollection = None,
        *,
        delegate: bool = False,
        target: str | None = None,
        **params: Any,
    ) -> Any:
        """Run it on a dataset or view; where an event loop runs, the result is to be awaited.

        Args:
            samples: A FiftyOne dataset or view.
            delegate: Whether to queue it for a worker.
            target: Whose worker, such as `gpu1`.
            **params: As the form asks.
        """
        import fiftyone as fo

        kind = "view" if isinstance(samples, fo.DatasetView) else "dataset"
        return foo.execute_operator(
            self.uri,
            **({} if samples is None else {kind: samples}),
            params=params,
            request_delegation=delegate,
            delegation_target=target,
        )

    def ask(self, ctx: Any, form: Form) -> None:
        """Fill the form: ask, preview, refuse. Nothing may be written."""

    def work(self, ctx: Any, bars: Bars) -> Outcome:
        """Do it.

        Args:
            ctx: The context.
            bars: Gives the progress of each stage.
        """
        raise NotImplementedError

    def resolve_input(self, ctx: Any) -> Any:
        """Return the form."""
        form = Form(ctx)
        if self.looks_at != "nothing" and ctx.dataset is None:
            form.refuse("Open a dataset first.")
        elif self.looks_at == "samples" and not len(ctx.target_view()):
            form.refuse(
                "There is no sample in what is shown. Clear the filters of the view, or pick the "
                "whole dataset as the target."
            )
        elif self.looks_at == "dataset" and not len(ctx.dataset):
            form.refuse("The dataset holds no sample yet. Bring images in first.")
        else:
            self.ask(ctx, form)
        return form.property(self.config.label, button=self.button)

    def resolve_execution_options(self, ctx: Any) -> Any:
        """Offer to run at once or queued; queued first where there is a lot to do."""
        many = (
            self.looks_at == "samples"
            and ctx.dataset is not None
            and len(ctx.target_view()) > MANY_SAMPLES
        )
        asked = self.config
        return _Options(
            allow_immediate_execution=asked.allow_immediate_execution,
            allow_delegated_execution=asked.allow_delegated_execution,
            default_choice_to_delegated=asked.default_choice_to_delegated or many,
        )

    def execute(self, ctx: Any) -> Any:
        """Run it as it was asked for."""
        return run(ctx, self.work, title=self.config.label)

    def resolve_output(self, ctx: Any) -> Any:
        """Show what was done."""
        results = ctx.results if isinstance(ctx.results, dict) else {}
        return outputs.of_result(self.config.label, results)
