"""The Python of the documentation runs, page after page, in one session on a small dataset."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "docs"))

from pages import DOCS, blocks, name  # noqa: E402

ORDER = ("ingest", "predict", "embed", "score", "choose", "label", "train", "evaluate", "publish")
STAGES = [DOCS / "stages" / f"{one}.md" for one in (*ORDER, "report")]
ELSEWHERE = {"worker.md", "app.md"}  # the user's own program; operators, which tests/plugins runs
RUN_FIRST = [*STAGES, DOCS / "index.md", DOCS / "api.md"]
OTHERS = [one for one in sorted(DOCS.rglob("*.md")) if one not in RUN_FIRST]
PAGES = [
    one for one in (*RUN_FIRST, *OTHERS) if blocks(one, "python") if name(one) not in ELSEWHERE
]


@pytest.fixture(scope="module")
def session(database):
    """What one reader has typed so far."""
    return {}


@pytest.fixture(scope="module")
def quickstart(database):
    """What `make quickstart` leaves, only smaller."""
    import curation as cu

    drives = {"train": 3, "val": 2, "test": 2}
    dataset = cu.demo_dataset("quickstart", drives=drives)
    cu.predict(dataset)
    return dataset


@pytest.mark.parametrize("page", PAGES, ids=name)
@pytest.mark.filterwarnings("ignore")  # no session of a reader turns warnings into errors
def test_the_python_of_the_page_runs(page, session, quickstart, capsys):
    for code in blocks(page, "python"):
        exec(compile(code, name(page), "exec"), session)
    assert "nan" not in capsys.readouterr().out.split()


def test_every_stage_has_a_page_with_an_example():
    assert [one for one in STAGES if not blocks(one, "python")] == []
