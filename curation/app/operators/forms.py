"""Form builder whose inputs show errors while the user types.

An invalid input keeps the form from being run, in the App and from Python alike. No input is
`required`: FiftyOne does not apply a form's defaults if an operator is called from Python, so
`parameter` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from cascade.errors import nearest

if TYPE_CHECKING:
    from fiftyone.operators import ExecutionContext

Choices = Mapping[str, str] | Iterable[str]  # values, or labels by value


def parameter(ctx: ExecutionContext, name: str, default: Any = None) -> Any:
    """Return the value of an operator's parameter, or the default if it is empty."""
    value = ctx.params.get(name)
    return default if value is None or value == "" else value


class Form:
    """Inputs of an operator.

    Args:
        ctx: FiftyOne's context, whose `params` are the values entered so far.
    """

    def __init__(self, ctx: ExecutionContext) -> None:
        self.ctx, self.inputs = ctx, types.Object()
        self.errors: list[str] = []

    def select(
        self,
        name: str,
        label: str,
        choices: Choices,
        *,
        default: str | None = None,
        description: str = "",
        allow_other: bool = False,
    ) -> Any:
        """Add a choice of one value; return the value, or the default.

        Args:
            name: Name of the parameter.
            label: Label.
            choices: Values, or labels by value.
            default: Default value.
            description: Sentence below the input.
            allow_other: Whether other values may be entered.
        """
        labels = _labels(choices)
        view = types.AutocompleteView() if allow_other else types.DropdownView()
        for value, text in labels.items():
            view.add_choice(value, label=text)
        options = {"label": label, "description": description, "default": default, "view": view}
        if allow_other:
            self.inputs.str(name, **options)
        else:
            self.inputs.enum(name, view.values(), **options)
        value = self.value(name, default)
        if value is not None and not allow_other and value not in labels:
            self.error(f"Unknown {label.lower()} {value!r}. {nearest(value, labels)}", name)
        return value

    def multiselect(
        self,
        name: str,
        label: str,
        choices: Choices,
        *,
        default: list[str] | None = None,
        description: str = "",
        minimum: int = 1,
    ) -> list[str]:
        """Add a choice of several values; return the values, or the default."""
        labels = _labels(choices)
        view = types.AutocompleteView(allow_user_input=False, allow_duplicates=False)
        for value, text in labels.items():
            view.add_choice(value, label=text)
        self.inputs.list(
            name,
            types.String(),
            label=label,
            description=description,
            default=default or [],
            view=view,
        )
        values = self.value(name, default or [])
        if not isinstance(values, list):
            self.error(f"{label} must be a list, got {values!r}.", name)
            return []
        for value in values:
            if value not in labels:
                self.error(f"Unknown field {value!r}. {nearest(value, labels)}", name)
        if len(values) < minimum:
            self.error(f"Select at least {minimum}.", name)
        return values

    def integer(
        self,
        name: str,
        label: str,
        *,
        default: int,
        minimum: int = 0,
        maximum: int | None = None,
        description: str = "",
    ) -> int:
        """Add an integer; return the value, or the default."""
        self.inputs.int(name, label=label, description=description, default=default)
        value = self.value(name, default)
        is_valid = isinstance(value, int) and not isinstance(value, bool)
        if not is_valid or value < minimum or (maximum is not None and value > maximum):
            upper = "" if maximum is None else f" and at most {maximum:,}"
            self.error(
                f"{label} must be a whole number of at least {minimum:,}{upper}, got {value!r}.",
                name,
            )
            return default
        return int(value)

    def number(
        self, name: str, label: str, *, default: float, above: float, description: str = ""
    ) -> float:
        """Add a number with an exclusive lower bound; return the value, or the default."""
        self.inputs.float(name, label=label, description=description, default=default)
        value = self.value(name, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= above:
            self.error(f"{label} must be a number above {above:g}, got {value!r}.", name)
            return default
        return float(value)

    def text(
        self, name: str, label: str, *, default: str = "", description: str = "", missing: str = ""
    ) -> str:
        """Add a line of text; return the value, or the default.

        Args:
            name: Name of the parameter.
            label: Label.
            default: Default value.
            description: Sentence below the input.
            missing: Error for an empty value; "" if the value may be empty.
        """
        self.inputs.str(name, label=label, description=description, default=default or None)
        value = self.value(name, default)
        if not isinstance(value, str):
            self.error(f"{label} must be text, got {value!r}.", name)
            return default
        if missing and not value.strip():
            self.error(missing, name)
        return value.strip()

    def checkbox(
        self, name: str, label: str, *, default: bool = False, description: str = ""
    ) -> bool:
        """Add a checkbox; return the value, or the default."""
        view = types.CheckboxView()
        self.inputs.bool(name, label=label, description=description, default=default, view=view)
        value = self.value(name, default)
        if not isinstance(value, bool):
            self.error(f"{label} must be true or false, got {value!r}.", name)
            return default
        return value

    def hidden(self, name: str, value: str) -> None:
        """Add a hidden value, which fixes what the form shows for the run."""
        self.inputs.str(name, default=value, view=types.HiddenView())

    def confirm(self, label: str) -> None:
        """Add a checkbox that must be set to run; from Python: `confirmed=True`."""
        if not self.checkbox("confirmed", label):
            self.error(f"Check {label!r} to continue.", "confirmed")

    def note(self, title: str, text: str = "") -> None:
        """Add a note."""
        self._add_view(types.Notice(label=title, description=text))

    def warning(self, title: str, text: str = "") -> None:
        """Add a warning, which does not prevent a run."""
        self._add_view(types.Warning(label=title, description=text))

    def error(self, message: str, name: str = "") -> None:
        """Add an error, which prevents a run.

        Args:
            message: The expectation, the value, and the fix.
            name: Name of the wrong input; "" for an error of the form as a whole.
        """
        self.errors.append(message)
        if not name:
            name = f"problem_{len(self.errors)}"
            view = types.Error(label="The operator cannot run yet", description=message)
            self.inputs.view(name, view)
        prop = self.inputs.properties[name]
        prop.invalid, prop.error_message = True, message

    def value(self, name: str, default: Any) -> Any:
        """Return the value of a parameter, or the default if it is empty."""
        return parameter(self.ctx, name, default)

    def to_property(self, title: str, *, submit_label: str = "Run") -> types.Property:
        """Return the form as FiftyOne's type."""
        view = types.PromptView(label=title, submit_button_label=submit_label)
        return types.Property(self.inputs, view=view)

    def _add_view(self, view: types.View) -> None:
        self.inputs.view(f"note_{len(self.inputs.properties)}", view)


def _labels(choices: Choices) -> dict[str, str]:
    items = choices.items() if isinstance(choices, Mapping) else ((c, c) for c in choices)
    return {str(value): str(label) for value, label in items}
