import logging
import sys

from curation.worker.run_log import RunLog, read_tail


def test_log_collects_output_of_all_attempts(tmp_path, capsys):
    for attempt in (1, 2):
        log = RunLog(tmp_path, "run")
        log.write(f"Attempt {attempt}")
        with log.open():
            logging.getLogger("curation.test").info("logged %d", attempt)
            sys.stdout.write(f"printed {attempt}\n")
    sys.stdout.write("afterwards\n")
    text = log.path.read_text()
    for line in ("Attempt 1", "logged 1", "printed 1", "Attempt 2", "logged 2", "printed 2"):
        assert line in text
    assert "afterwards" not in text
    assert "printed 1" in capsys.readouterr().out  # passed on, too


def test_open_restores_logging(tmp_path):
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    with RunLog(tmp_path, "run").open():
        pass
    assert (root.level, list(root.handlers)) == before


def test_tail_has_complete_lines(tmp_path):
    file = tmp_path / "log"
    file.write_text("first line\nsecond line\nthird line\n")
    assert read_tail(file, 15) == "third line\n"
    assert read_tail(file) == file.read_text()
    assert read_tail(tmp_path / "none") == ""
