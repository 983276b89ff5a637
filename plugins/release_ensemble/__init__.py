"""The App's door to the registry: judge, promote, roll back."""

from dataclasses import asdict
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from curation.app.operators import round_forms, version_forms
from curation.app.operators.base import AT_ONCE, RUN, Door
from curation.app.operators.execution import Outcome


def ask_signature(form: Any) -> None:
    """Ask who answers for it, and why."""
    form.text("by", "Who answers for it", needed="Say who you are.")
    form.text("why", "Why", needed="Say why, in your words: it is kept with the version.")


class PublishChallenger(Door):
    """Registers what a round trained, and lets the gate judge it."""

    looks_at = "dataset"
    button = "Publish"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="publish_challenger",
            label="Curation: publish",
            description="Register what a round trained; the gate promotes it or keeps the champion",
            icon="gavel",
            risk_level=types.RiskLevel.HIGH,
            **RUN,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the round."""
        if round_forms.ask_carried(form) is None:
            return
        if form.tick("sign_off", "Wait for a signature", about="A person promotes it, or nobody"):
            form.say("The gate judges, and nothing is put into service before somebody signs")
        else:
            form.warn(
                "The gate may put it into service",
                "It does where every test holds, and says why not where one does not.",
            )

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Publish."""
        done = round_forms.carry_asked(
            ctx, until="publish", bars=bars, sign_off=bool(ctx.params.get("sign_off"))
        )
        said = str(done.facts.get("sentence") or done.sentence)
        return Outcome(said, done.facts, view=done.view, wrote=False)


class PromoteVersion(Door):
    """Puts a version into service, in somebody's name."""

    looks_at = "dataset"
    button = "Promote"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="promote_version",
            label="Curation: promote a version",
            description="Put a registered ensemble into service, in your name",
            icon="verified",
            risk_level=types.RiskLevel.DANGEROUS,
            **AT_ONCE,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the version and the signature."""
        known = version_forms.require(form, 1)
        if not known:
            return
        version = version_forms.ask(form, "version", "Version", alias="challenger", known=known)
        ask_signature(form)
        against = form.tick("against_the_gate", "Also against the gate's verdict")
        if version in known and "verdict promote" not in known[version] and not against:
            form.refuse(
                f"The gate did not say that version {version} may replace the champion. To "
                "promote it all the same, tick `Also against the gate's verdict`.",
                "version",
            )
        form.confirm(f"Put version {version} into service")

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Promote."""
        from curation.api.registry import promote

        given = ctx.params
        moved = promote(
            ctx.dataset,
            given.get("version") or "challenger",
            by=given["by"].strip(),
            why=given["why"].strip(),
            against_the_gate=bool(given.get("against_the_gate")),
        )
        return Outcome(moved.sentence, asdict(moved), wrote=False)


class RollbackVersion(Door):
    """Puts the version that the champion replaced back into service."""

    looks_at = "dataset"
    button = "Roll back"

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists and runs it."""
        return foo.OperatorConfig(
            name="rollback_version",
            label="Curation: roll back",
            description="Put the version that the champion replaced back into service",
            icon="history",
            risk_level=types.RiskLevel.DANGEROUS,
            **AT_ONCE,
        )

    def ask(self, ctx: Any, form: Any) -> None:
        """Ask for the signature; say what is withdrawn."""
        known = version_forms.require(form, 1)
        champion = next((one for one, text in known.items() if "champion" in text), None)
        if champion is None:
            if known:
                form.refuse("No version is in service, so there is nothing to roll back.")
            return
        form.warn(f"Withdraws {known[champion]}", "The version that it replaced takes its place.")
        ask_signature(form)
        form.carry("of", champion)
        form.confirm(f"Withdraw version {champion}")

    def work(self, ctx: Any, bars: Any) -> Outcome:
        """Roll back."""
        from curation.api.registry import rollback

        given = ctx.params
        moved = rollback(
            ctx.dataset, by=given["by"].strip(), why=given["why"].strip(), of=given.get("of")
        )
        return Outcome(moved.sentence, asdict(moved), wrote=False)


def register(plugin: Any) -> None:
    """Hand the operators to FiftyOne; `fiftyone.yml` lists the same names."""
    plugin.register(PublishChallenger)
    plugin.register(PromoteVersion)
    plugin.register(RollbackVersion)
