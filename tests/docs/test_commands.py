"""Every command in the documentation is one that exists, with options that it has."""

import re
import shlex

import pytest
import typer
from pages import PAGES, ROOT, blocks, name

from curation.cli import app

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
DOCUMENTED = [*PAGES, ROOT / "README.md"]


def commands(page):
    """Return the words of each command in the shell blocks of a page."""
    for code in blocks(page, "sh", "bash"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            ends = [i for i, word in enumerate(words) if word in ("|", "&&", ";", ">", "&")]
            yield words[: ends[0]] if ends else words


def parsed(words):
    """Parse a command as `curate` would, and stop before it does anything."""
    command, context = typer.main.get_command(app), None
    words = list(words)
    while True:
        context = command.make_context(words[0], words[1:], parent=context)
        if not hasattr(command, "resolve_command"):
            return context
        rest = [*context._protected_args, *context.args]
        verb, command, rest = command.resolve_command(context, rest)
        words = [verb, *rest]


@pytest.mark.parametrize("page", DOCUMENTED, ids=name)
def test_every_command_of_the_page_can_be_parsed(page):
    for words in commands(page):
        if words[:1] == ["curate"]:
            parsed(words)
        elif words[:1] == ["make"]:
            assert [one for one in words[1:] if "=" not in one and one not in TARGETS] == []


def test_a_command_that_does_not_exist_is_found():
    with pytest.raises(Exception, match="No such command 'guess'"):
        parsed(["curate", "guess", "site"])
    with pytest.raises(Exception, match="No such option"):
        parsed(["curate", "score", "site", "--mebmers", "a,b"])
    assert parsed(["curate", "labeling", "push", "site", "-r", "2"]).params["round_number"] == 2


def test_the_documentation_names_every_verb():
    said = " ".join(page.read_text() for page in DOCUMENTED)
    verbs = typer.main.get_command(app).commands
    assert [verb for verb in verbs if f"curate {verb}" not in said] == []
