"""Detectors in a subprocess: a worker in a separate virtual environment, and bad workers."""

import ast
import gc
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_worker as tiny
import torch

from cascade import registry
from cascade.engine.member_runner import predict_member
from cascade.errors import BadPredictionsError, CheckpointError, ServerError
from cascade.imaging.batches import Batch
from cascade.manifest import Member
from cascade.models.subprocess import process
from cascade.models.subprocess.foreign import worker
from cascade.predictions import Failure
from cascade.protocols import predict

ROOT = Path(__file__).parents[4]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Return the interpreter of an environment without packages."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return str(folder / "bin" / "python")


def scene(row=10, column=20, value=255, size=(48, 64)):
    """A gray image with a rectangle of 8 x 16 pixels, and a black pixel at the top left."""
    image = np.full((*size, 3), 100, np.uint8)
    image[row : row + 8, column : column + 16] = value
    image[0, 0] = 0
    return image


def batch_of(*images):
    return Batch(ids=tuple(str(i) for i in range(len(images))), images=images)


def build(script, python=sys.executable, **params):
    params = {"timeout_s": 30.0, **params}
    return registry.create("worker", script, command=[python, "{checkpoint}"], **params)


def write(folder, text):
    path = folder / "worker_script.py"
    path.write_text(text)
    return path


# What a script answers to each request: `what` is run with `request` and `detect` at hand.
SCRIPT = """
import os, sys, time
from worker import Detector, serve
NOTHING = {{"boxes_xyxy": [], "scores": [], "labels": []}}
def bright(path):
    return max(open(path, "rb").read()) == 255
def detect(paths):
    {code}
    return [NOTHING for _ in paths]
serve(lambda: Detector("m", "MIT", ["cone"], detect))
"""


def test_predictions_from_other_environment(python, tmp_path):
    prefix = subprocess.check_output([python, "-c", "import sys; print(sys.prefix)"], text=True)
    assert prefix.strip() != sys.prefix
    model = build(tiny.write(tmp_path), python)
    predictions = predict(model, batch_of(scene(), scene(row=32, column=4, size=(64, 32))))
    assert model.classes == tiny.CLASSES
    bright = [
        detections.boxes_xyxy[detections.labels.index("bright")] for detections in predictions
    ]
    assert bright[0] == pytest.approx([20 / 64, 10 / 48, 36 / 64, 18 / 48])
    assert bright[1] == pytest.approx([4 / 32, 32 / 64, 20 / 32, 40 / 64])
    assert [detections.scores.tolist() for detections in predictions] == [[1.0, 1.0]] * 2
    assert predict(model, batch_of()) == []


def test_other_environment_has_none_of_our_packages(python):
    done = subprocess.run([python, "-c", "import numpy"], capture_output=True, check=False)
    assert done.returncode != 0


def test_foreign_worker_needs_standard_library_only():
    tree = ast.parse(Path(worker.__file__).read_text())
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= sys.stdlib_module_names


def test_crash_fails_its_image_and_next_batch_succeeds(tmp_path):
    script = write(tmp_path, SCRIPT.format(code="any(map(bright, paths)) and os._exit(7)"))
    model = build(script)
    member = Member(name="m", tier="detection", adapter="worker", license="MIT", batch_size=4)
    images = [scene(value=50), scene(value=255), scene(value=50), scene(value=50)]
    results = predict_member(model, member, batch_of(*images), CPU)
    failed = [isinstance(result, Failure) for result in results.values()]
    assert failed == [False, True, False, False]
    assert results["1"].error == "ServerError"
    assert "ended unexpectedly with code 7" in results["1"].message
    results = predict_member(model, member, batch_of(*[scene(value=50)] * 3), CPU)
    assert all(len(result) == 0 for result in results.values())


def test_hanging_worker_times_out(tmp_path):
    model = build(write(tmp_path, SCRIPT.format(code="time.sleep(600)")), timeout_s=0.5)
    model.classes  # noqa: B018 - starts it
    hung = model._process.pid
    began = time.monotonic()
    with pytest.raises(ServerError, match="timed out"):
        predict(model, batch_of(scene()))
    assert time.monotonic() - began < 10
    assert not is_alive(hung)


def test_worker_that_does_not_read_times_out(tmp_path):
    """A request that is larger than the pipe cannot be written."""
    hello = '{"protocol": 1, "classes": []}'
    script = write(tmp_path, f"import time\nprint('{hello}', flush=True)\ntime.sleep(600)")
    model = build(script, timeout_s=1.0)
    with pytest.raises(ServerError, match="timed out"):
        predict(model, batch_of(*[np.zeros((1, 1, 3), np.uint8)] * 2000))


def test_worker_without_hello_times_out(tmp_path):
    model = build(write(tmp_path, "import time; time.sleep(600)"), start_timeout_s=0.5)
    with pytest.raises(ServerError, match="timed out"):
        predict(model, batch_of(scene()))


def test_reported_failure_keeps_worker_running(tmp_path):
    code = "if any(map(bright, paths)): raise MemoryError('too bright')"
    model = build(write(tmp_path, SCRIPT.format(code=code)))
    with pytest.raises(ServerError, match="failed: MemoryError: too bright"):
        predict(model, batch_of(scene()))
    before = model._process.pid
    assert [len(detections) for detections in predict(model, batch_of(scene(value=50)))] == [0]
    assert model._process.pid == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "print('Downloading weights ... 3 %')", "reserved for the protocol", id="text"
        ),
        pytest.param("print('[1, 2]')", "expected a JSON object", id="a list"),
        pytest.param("print('{}')", "start with the protocol's version, 1", id="no version"),
        pytest.param("print('{\"protocol\": 2}')", "version, 1, got .*2", id="another version"),
        pytest.param("print('{\"protocol\": 1}')", "announce a list of classes", id="no classes"),
        pytest.param(
            "import sys; sys.exit('no GPU')", "code 1. Its last output: no GPU", id="an end"
        ),
        pytest.param(
            "from worker import serve\nserve(lambda: 1 / 0)",
            "could not load its model: ZeroDivisionError",
            id="a failure to load",
        ),
    ],
)
def test_invalid_hello_is_refused(tmp_path, text, message):
    with pytest.raises(ServerError, match=message):
        build(write(tmp_path, text)).classes  # noqa: B018 - starts it


def test_foreign_prints_do_not_disturb_protocol(tmp_path):
    """Also output that bypasses Python, on the file descriptor."""
    code = "print('progress'); os.write(1, b'from C'); os.system('echo from a child')"
    model = build(write(tmp_path, SCRIPT.format(code=code)))
    assert [len(detections) for detections in predict(model, batch_of(scene()))] == [0]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ("[]", ServerError, "`detections` of 1 images"),
        ("[{}]", BadPredictionsError, "boxes_xyxy, scores and labels"),
        (
            "[{'boxes_xyxy': [[0, 0, 1, 1]], 'scores': [1], 'labels': ['drum']}]",
            BadPredictionsError,
            r"classes \['cone'\], got .*drum",
        ),
        (
            "[{'boxes_xyxy': [[0, 0, 50, 60]], 'scores': [1], 'labels': ['cone']}]",
            BadPredictionsError,
            r"boxes_xyxy must be in \[0, 1\]",
        ),
        (
            "[{'boxes_xyxy': [[0, 0, 1, 1]], 'scores': [99], 'labels': ['cone']}]",
            BadPredictionsError,
            r"scores must be in \[0, 1\]",
        ),
        (
            "[{'boxes_xyxy': [[0, 0, 1, float('nan')]], 'scores': [1], 'labels': ['cone']}]",
            BadPredictionsError,
            "boxes_xyxy must be in",
        ),
    ],
)
def test_invalid_answer_is_refused(tmp_path, answer, error, message):
    model = build(write(tmp_path, SCRIPT.format(code=f"return {answer}")))
    with pytest.raises(error, match=message):
        predict(model, batch_of(scene()))


def test_worker_that_always_crashes_is_not_restarted(tmp_path, monkeypatch):
    model = build(write(tmp_path, SCRIPT.format(code="os._exit(1)")))
    starts = []
    start = process.WorkerProcess.__init__
    monkeypatch.setattr(
        process.WorkerProcess,
        "__init__",
        lambda self, command: starts.append(1) or start(self, command),
    )
    for _ in range(12):
        with pytest.raises(ServerError):
            predict(model, batch_of(scene()))
    assert len(starts) == 8
    with pytest.raises(ServerError, match="8 times in a row and is not restarted"):
        predict(model, batch_of(scene()))


@pytest.mark.parametrize("end", ["close", "forget"])
def test_close_kills_worker_and_children(tmp_path, end):
    """The child ignores its input and its terminal; only the group's end reaches it."""
    note = tmp_path / "child"
    code = (
        "import subprocess; child = subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(600)']); "
        f"open({str(note)!r}, 'w').write(str(child.pid))"
    )
    model = build(write(tmp_path, SCRIPT.format(code=code)))
    predict(model, batch_of(scene()))
    pids = [model._process.pid, int(note.read_text())]
    assert all(map(is_alive, pids))
    if end == "close":
        model.close()
    else:
        del model
        gc.collect()
    wait_until(lambda: not any(map(is_alive, pids)))


def test_worker_ends_with_interpreter(tmp_path):
    script = write(tmp_path, SCRIPT.format(code="pass"))
    ours = (
        "import sys\nfrom cascade import registry\n"
        f"model = registry.create('worker', None, command=[sys.executable, {str(script)!r}])\n"
        "model.classes\nprint(model._process.pid)\n"
    )
    pid = int(subprocess.check_output([sys.executable, "-c", ours], cwd=ROOT, text=True))
    wait_until(lambda: not is_alive(pid))


def test_worker_inherits_no_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("CURATION_DATABASE", "mongodb://user:secret@host")
    code = "raise KeyError(' '.join(sorted(os.environ)))"
    with pytest.raises(ServerError) as refusal:
        predict(build(write(tmp_path, SCRIPT.format(code=code))), batch_of(scene()))
    names = str(refusal.value).partition("KeyError: ")[2].strip("'\"").split()
    assert set(names) <= {*process._INHERITED, "PYTHONPATH", "LC_CTYPE"}
    assert "PATH" in names


def test_images_are_deleted_after_answer(tmp_path):
    note = tmp_path / "paths"
    code = f"open({str(note)!r}, 'w').write(paths[0])"
    predict(build(write(tmp_path, SCRIPT.format(code=code))), batch_of(scene()))
    assert note.read_text().endswith("0.ppm")
    assert not Path(note.read_text()).exists()


def test_missing_command_and_program_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="must be a list of program and arguments"):
        registry.create("worker", command="python my_worker.py")
    with pytest.raises(CheckpointError, match="needs a checkpoint, but none is set"):
        registry.create("worker", command=["python", "{checkpoint}"])
    with pytest.raises(ServerError, match=r"Cannot start the worker .*No such file"):
        registry.create("worker", command=[str(tmp_path / "absent")]).classes  # noqa: B018


@pytest.mark.parametrize("name", ["yolo_master_worker.py", "rt_detr_v3_worker.py"])
def test_example_workers_report_absent_framework(name, tmp_path):
    """They start without it and report the failed load: a real answer of a real process."""
    path = ROOT / "tools" / "workers" / name
    model = registry.create(
        "worker", tmp_path, command=[sys.executable, "-S", str(path), "{checkpoint}"]
    )
    with pytest.raises(ServerError, match="could not load its model: ModuleNotFoundError"):
        model.classes  # noqa: B018 - starts it


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.rpartition(")")[2].split()[0] != "Z"  # a zombie waits for its parent to look


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
