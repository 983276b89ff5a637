"""Base class of the App's operators: a form, a run, and a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import fiftyone.operators as foo

from curation.app.operators import outputs
from curation.app.operators.execution import Outcome, execute
from curation.app.operators.forms import Form
from curation.app.operators.progress import StageProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fiftyone.core.collections import SampleCollection
    from fiftyone.operators import ExecutionContext, types
    from fiftyone.operators.executor import ExecutionResult

MANY_SAMPLES = 2000  # above, queueing is the default


def operator_config(
    *,
    name: str,
    label: str,
    description: str,
    icon: str,
    risk_level: str,
    step: int | None = None,
    can_queue: bool = True,
    queue_by_default: bool = False,
) -> foo.OperatorConfig:
    """Return the configuration of an operator of ours.

    Args:
        name: As listed in `fiftyone.yml`.
        label: Label in the App.
        description: Description in the App.
        icon: Name of a Material icon.
        risk_level: `LOW`, `MEDIUM`, `HIGH` or `DANGEROUS`.
        step: Step of a round, 1 to 9. It precedes the description, since the App sorts the list
            of operators by the first character of the description.
        can_queue: Whether a worker may run the operator.
        queue_by_default: Whether the form proposes to queue.
    """
    return foo.OperatorConfig(
        name=name,
        label=label,
        description=description if step is None else f"{step}. {description}",
        icon=icon,
        risk_level=risk_level,
        dynamic=True,
        execute_as_generator=True,
        allow_immediate_execution=True,
        allow_delegated_execution=can_queue,
        default_choice_to_delegated=queue_by_default,
    )


class _ExecutionOptions(foo.ExecutionOptions):  # type: ignore[misc] # FiftyOne is untyped
    """Execution options that always offer to queue.

    By default the App disables `Schedule` unless one of Enterprise's orchestrators has registered.
    """

    @property
    def orchestrator_registration_enabled(self) -> bool:
        """Whether only registered orchestrators are offered: never."""
        return False


class CurationOperator(foo.Operator):  # type: ignore[misc] # FiftyOne is untyped
    """An operator with a form and a run.

    A subclass defines `config`, `build_form` and `run`. From Python it is called with a dataset or
    view and its parameters; in a notebook the call is awaited:

        predict = foo.get_operator("@curation/predict_cascade/predict_cascade")
        result = predict(dataset, manifest="tiny").result
        result = (await predict(dataset, manifest="tiny")).result

    Attributes:
        target: Data that must not be empty: the target view, the dataset, or nothing.
        submit_label: Label of the form's button.
    """

    target: Literal["samples", "dataset", "nothing"] = "samples"
    submit_label = "Run"

    def __call__(
        self,
        samples: SampleCollection = None,
        *,
        delegate: bool = False,
        target: str | None = None,
        **params: Any,
    ) -> ExecutionResult:
        """Run the operator on a dataset or view; await the result if an event loop is running.

        Args:
            samples: A FiftyOne dataset or view.
            delegate: Whether to queue the run for a worker.
            target: Name of the worker, such as `gpu1`.
            **params: Parameters of the form.
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

    def build_form(self, ctx: ExecutionContext, form: Form) -> None:
        """Add the inputs, a preview and errors to the form, without writing anything."""

    def run(self, ctx: ExecutionContext, stage_progress: StageProgress) -> Outcome:
        """Run the operator.

        Args:
            ctx: FiftyOne's context.
            stage_progress: Returns the progress callback of a stage, given its verb.
        """
        raise NotImplementedError

    def resolve_input(self, ctx: ExecutionContext) -> types.Property:
        """Return the form."""
        form = Form(ctx)
        if self.target != "nothing" and ctx.dataset is None:
            form.error("Open a dataset first.")
        elif self.target == "samples" and not len(ctx.target_view()):
            form.error(
                "The current view has no samples. Clear its filters, or select the whole dataset "
                "as the target."
            )
        elif self.target == "dataset" and not len(ctx.dataset):
            form.error("The dataset has no samples yet. Ingest images first.")
        else:
            self.build_form(ctx, form)
        return form.to_property(self.config.label, submit_label=self.submit_label)

    def resolve_execution_options(self, ctx: ExecutionContext) -> foo.ExecutionOptions:
        """Offer to execute or to queue; queueing is the default for many samples."""
        many = (
            self.target == "samples"
            and ctx.dataset is not None
            and len(ctx.target_view()) > MANY_SAMPLES
        )
        return _ExecutionOptions(
            allow_immediate_execution=self.config.allow_immediate_execution,
            allow_delegated_execution=self.config.allow_delegated_execution,
            default_choice_to_delegated=self.config.default_choice_to_delegated or many,
        )

    def execute(self, ctx: ExecutionContext) -> dict[str, Any] | Iterator[Any]:
        """Run the operator as requested: in the App, from Python, or by a worker."""
        return execute(ctx, self.run, title=self.config.label)

    def resolve_output(self, ctx: ExecutionContext) -> types.Property:
        """Show the result."""
        results = ctx.results if isinstance(ctx.results, dict) else {}
        return outputs.result_property(self.config.label, results)
