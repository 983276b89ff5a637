"""Imports run one way. import-linter guards it; here we see that it does, and that it bites."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINTER = Path(sysconfig.get_path("scripts")) / "lint-imports"

MODEL_SIDE = "The model side does not import the data side"
ONE_WAY = "The data side imports one way"
STAGES = "Stages do not import each other"
MLFLOW = "MLflow is imported in curation.tracking only"
PURE = "Pure modules import no dataset, server or model library"


def lint(folder):
    """Return whether the contracts hold for the packages in `folder`, and what was printed."""
    done = subprocess.run(
        [str(LINTER), "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode == 0, done.stdout


@pytest.fixture
def copy(tmp_path):
    """A copy of our packages, to break."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("cascade", "curation"):
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=lambda folder, names: [
                name for name in names if (Path(folder) / name).is_file() and name[-3:] != ".py"
            ],
        )
    return tmp_path


def test_the_contracts_hold():
    kept, printed = lint(ROOT)
    assert kept, printed


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        pytest.param(
            "cascade/fusion/consensus.py",
            "import fiftyone",
            MODEL_SIDE,
            id="a model knows a dataset",
        ),
        pytest.param(
            "cascade/engine/run.py",
            "from curation.storage import schema",
            MODEL_SIDE,
            id="cascade looks up",
        ),
        pytest.param(
            "cascade/metrics/classification.py",
            "def later():\n    import mlflow",
            MODEL_SIDE,
            id="a late import is an import",
        ),
        pytest.param(
            "curation/storage/writer.py",
            "import curation.stages.score",
            ONE_WAY,
            id="the store looks up",
        ),
        pytest.param(
            "curation/stages/score.py",
            "import curation.pipeline.run_round",
            ONE_WAY,
            id="a stage looks up",
        ),
        pytest.param(
            "curation/pipeline/run_round.py", "import curation.cli", ONE_WAY, id="the loop looks up"
        ),
        pytest.param(
            "curation/active_learning/scoring/hardness.py",
            "import curation.storage.writer",
            PURE,
            id="hardness reads",
        ),
        pytest.param(
            "curation/stages/score.py",
            "from curation.presentation import refresh",
            ONE_WAY,
            id="a stage refreshes the App",
        ),
        pytest.param(
            "curation/stages/score.py",
            "from curation.stages import predict",
            STAGES,
            id="a stage calls a sibling",
        ),
        pytest.param(
            "curation/stages/publish.py", "import mlflow", MLFLOW, id="a stage speaks to MLflow"
        ),
        pytest.param(
            "curation/active_learning/gate/judge.py",
            "import torch",
            PURE,
            id="the gate runs a model",
        ),
        pytest.param(
            "curation/active_learning/selection/batch.py",
            "import fiftyone",
            PURE,
            id="selection knows a dataset",
        ),
        pytest.param(
            "curation/active_learning/scoring/hardness.py",
            "import cascade.engine.run",
            PURE,
            id="torch comes in by the back door",
        ),
    ],
)
def test_a_contract_bites(copy, file, line, contract):
    with (copy / file).open("a") as source:
        source.write(f"\n\n{line}\n")
    kept, printed = lint(copy)
    assert not kept
    broken = [row for row in printed.splitlines() if row.endswith("BROKEN")]
    assert any(row.startswith(contract) for row in broken), printed


def test_a_module_without_a_floor_is_noticed(copy):
    (copy / "curation" / "newcomer.py").touch()
    kept, printed = lint(copy)
    assert not kept
    assert "newcomer" in printed
