"""Building a form whose inputs say, as one types, what is wrong with them.

An input that is refused keeps the form from being run, in the App and from Python alike. No
input is `required`: FiftyOne does not apply a form's defaults where an operator is called from
Python, so `given` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from cascade.errors import nearest

if TYPE_CHECKING:
    from fiftyone import DatasetView


class Form:
    """The inputs of an operator.

    Args:
        ctx: The context, whose `params` are what was typed so far.
    """

    def __init__(self, ctx: Any) -> None:
        self.ctx, self.inputs = ctx, types.Object()
        self.problems: list[str] = []

    def pick(
        self,
        name: str,
        label: str,
        choices: Mapping[str, str] | Iterable[str],
        *,
        default: str | None = None,
        about: str = "",
        free: bool = False,
    ) -> Any:
        """Ask for one of several; return what was picked, or the default.

        Args:
            name: Of the parameter.
            label: Shown.
            choices: Values, or values with what is shown for them.
            default: Where nothing was picked.
            about: A sentence below.
            free: Whether another value may be typed, too.
        """
        offered = _offered(choices)
        view = types.AutocompleteView() if free else types.DropdownView()
        for value, text in offered.items():
            view.add_choice(value, label=text)
        words = {"label": label, "description": about, "default": default, "view": view}
        if free:
            self.inputs.str(name, **words)
        else:
            self.inputs.enum(name, view.values(), **words)
        value = self.given(name, default)
        if value is not None and not free and value not in offered:
            self.refuse(f"There is no {label.lower()} {value!r}. {nearest(value, offered)}", name)
        return value

    def several(
        self,
        name: str,
        label: str,
        choices: Mapping[str, str] | Iterable[str],
        *,
        default: list[str] | None = None,
        about: str = "",
        least: int = 1,
    ) -> list[str]:
        """Ask for some of several; return what was picked, or the default."""
        offered = _offered(choices)
        view = types.AutocompleteView(allow_user_input=False, allow_duplicates=False)
        for value, text in offered.items():
            view.add_choice(value, label=text)
        self.inputs.list(
            name, types.String(), label=label, description=about, default=default or [], view=view
        )
        value = self.given(name, default or [])
        if not isinstance(value, list):
            self.refuse(f"{label} must be a list, got {value!r}.", name)
            return []
        for one in value:
            if one not in offered:
                self.refuse(f"There is no field {one!r} among them. {nearest(one, offered)}", name)
        if len(value) < least:
            self.refuse(f"Pick at least {least}.", name)
        return value

    def whole(
        self, name: str, label: str, *, default: int, least: int = 0, most: int | None = None,
        about: str = "",
    ) -> int:  # fmt: skip
        """Ask for a whole number; return it, or the default."""
        self.inputs.int(name, label=label, description=about, default=default)
        value = self.given(name, default)
        fits = isinstance(value, int) and not isinstance(value, bool)
        if not fits or value < least or (most is not None and value > most):
            upper = "" if most is None else f" and at most {most:,}"
            self.refuse(
                f"{label} must be a whole number of at least {least:,}{upper}, got {value!r}.", name
            )
            return default
        return int(value)

    def number(
        self, name: str, label: str, *, default: float, above: float, about: str = ""
    ) -> float:
        """Ask for a number above another; return it, or the default."""
        self.inputs.float(name, label=label, description=about, default=default)
        value = self.given(name, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= above:
            self.refuse(f"{label} must be a number above {above:g}, got {value!r}.", name)
            return default
        return float(value)

    def text(
        self, name: str, label: str, *, default: str = "", about: str = "", needed: str = ""
    ) -> str:
        """Ask for text; return it, or the default.

        Args:
            name: Of the parameter.
            label: Shown.
            default: Where nothing was typed.
            about: A sentence below.
            needed: What to say where it is empty; empty where it may be.
        """
        self.inputs.str(name, label=label, description=about, default=default or None)
        value = self.given(name, default)
        if not isinstance(value, str):
            self.refuse(f"{label} must be text, got {value!r}.", name)
            return default
        if needed and not value.strip():
            self.refuse(needed, name)
        return value.strip()

    def tick(self, name: str, label: str, *, default: bool = False, about: str = "") -> bool:
        """Ask for yes or no; return it, or the default."""
        view = types.CheckboxView()
        self.inputs.bool(name, label=label, description=about, default=default, view=view)
        value = self.given(name, default)
        if not isinstance(value, bool):
            self.refuse(f"{label} must be true or false, got {value!r}.", name)
            return default
        return value

    def carry(self, name: str, value: str) -> None:
        """Hand on what the form shows, unseen, so that just that is meant when it is run."""
        self.inputs.str(name, default=value, view=types.HiddenView())

    def confirm(self, label: str) -> None:
        """Ask for a yes without which nothing is done; from Python: `confirmed=True`."""
        if not self.tick("confirmed", label):
            self.refuse(f"Tick {label!r} to go on.", "confirmed")

    def say(self, title: str, text: str = "") -> None:
        """Show a note."""
        self._show(types.Notice(label=title, description=text))

    def warn(self, title: str, text: str = "") -> None:
        """Show a warning; it hinders nothing."""
        self._show(types.Warning(label=title, description=text))

    def refuse(self, reason: str, name: str = "") -> None:
        """Keep the form from being run, and say why.

        Args:
            reason: What was expected, what came, what to do.
            name: The input that is to be changed; empty where it is none of them.
        """
        self.problems.append(reason)
        if not name:
            name = f"problem_{len(self.problems)}"
            self.inputs.view(name, types.Error(label="This cannot run yet", description=reason))
        one = self.inputs.properties[name]
        one.invalid, one.error_message = True, reason

    def given(self, name: str, default: Any) -> Any:
        """Return what was typed, or the default."""
        value = self.ctx.params.get(name)
        return default if value is None or value == "" else value

    def property(self, title: str, *, button: str = "Run") -> Any:
        """Return the form as FiftyOne takes it."""
        return types.Property(
            self.inputs, view=types.PromptView(label=title, submit_button_label=button)
        )

    def _show(self, view: DatasetView) -> None:
        self.inputs.view(f"note_{len(self.inputs.properties)}", view)


def _offered(choices: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    if isinstance(choices, Mapping):
        return {str(value): str(text) for value, text in choices.items()}
    return {str(one): str(one) for one in choices}
