"""The command as a whole: help, verbs, exit codes, and what it costs to ask."""

import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import typer

from curation import stages
from curation.cli import app
from curation.cli.app import show, split_list

PARTS = {"adjudicate", "calibrate", "examine", "fuse"}  # of `train` and of `predict`
VERBS = {"distill": "distil"}  # spelled otherwise than its stage
HEAVY = ("cv2", "fiftyone", "mlflow", "numpy", "pymongo", "torch")


def commands():
    """Return every command by the words that call it, the groups among them."""
    found = {}

    def walk(command, words):
        found[words] = command
        for name, one in getattr(command, "commands", {}).items():
            walk(one, (*words, name))

    walk(typer.main.get_command(app), ())
    return found


COMMANDS = commands()


@pytest.fixture(scope="module")
def helped(new_home, tmp_path_factory):
    """What `--help` came to, for every command."""
    with (
        new_home(tmp_path_factory.mktemp("home") / "user") as home,
        ThreadPoolExecutor(2) as pool,
    ):
        done = pool.map(lambda words: home.curate(*words, "--help"), COMMANDS)
        yield dict(zip(COMMANDS, done, strict=True))


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "curate")
def test_help_has_sentence_and_example(helped, words):
    text = " ".join(helped[words].out.split())
    assert COMMANDS[words].help.split("\n")[0][:30] in text
    assert f"Example: {' '.join(('curate', *words))}" in text
    assert helped[words].err == ""


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "curate")
def test_example_is_valid(words):
    """Its options exist: it is parsed, and not run."""
    example = COMMANDS[words].epilog.split("\n")[0].removeprefix("Example: curate ")
    called = COMMANDS[()]
    rest = shlex.split(example)
    context = None
    while rest and rest[0] in getattr(called, "commands", {}):
        called, rest = called.commands[rest[0]], rest[1:]
    context = called.make_context("curate", rest)
    assert context.command is called


def test_every_stage_has_command():
    folder = Path(stages.__file__).parent
    verbs = {file.stem for file in folder.glob("*.py")} - {"__init__"} - PARTS
    verbs = {VERBS.get(verb, verb) for verb in verbs}
    assert len(verbs) > 10
    assert verbs <= {words[0] for words in COMMANDS if words}


def test_commands_are_in_order_of_round(helped):
    text = helped[()].out
    order = "quickstart round ingest predict embed score choose label train evaluate publish report"
    places = [text.index(f"│ {verb} ") for verb in order.split()]
    assert places == sorted(places)


def test_help_imports_no_heavy_library(home):
    code = f"import sys, curation.cli; print(*sorted(set(sys.modules) & {set(HEAVY)}))"
    assert home.python(code).strip() == ""


@pytest.mark.parametrize(
    "words",
    [["predict"], ["prdict", "x"], ["score", "x", "--member", "a"], ["choose", "x", "-b", "ten"]],
    ids=["an argument is missing", "no such verb", "no such option", "no number"],
)
def test_wrong_usage_has_exit_code_2(home, words):
    done = home.curate(*words, code=2)
    assert "Usage: curate" in done.err
    assert "Traceback" not in done.err
    assert not home.folder.exists()


def test_list_may_contain_blanks():
    assert split_list(" a, b ,,c") == ["a", "b", "c"]


def test_summary_prints_names_without_markup(capsys):
    show("ingest", {"failures": ("a [bold].jpg",), "splits": {"train": 3}, "nothing": ()})
    assert capsys.readouterr().out == (
        "ingest\n  failures: \n    a [bold].jpg\n  splits: train 3\n"
    )
