import logging
import sys

from curation.worker.run_log import RunLog, tail_of


def test_all_that_is_said_is_kept_over_all_attempts(tmp_path, capsys):
    for attempt in (1, 2):
        log = RunLog(tmp_path, "run")
        log.say(f"Attempt {attempt}")
        with log.open():
            logging.getLogger("curation.test").info("logged %d", attempt)
            sys.stdout.write(f"printed {attempt}\n")
    sys.stdout.write("afterwards\n")
    text = log.path.read_text()
    for one in ("Attempt 1", "logged 1", "printed 1", "Attempt 2", "logged 2", "printed 2"):
        assert one in text
    assert "afterwards" not in text
    assert "printed 1" in capsys.readouterr().out  # passed on, too


def test_logging_is_as_before_afterwards(tmp_path):
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    with RunLog(tmp_path, "run").open():
        pass
    assert (root.level, list(root.handlers)) == before


def test_the_tail_has_whole_lines(tmp_path):
    file = tmp_path / "log"
    file.write_text("first line\nsecond line\nthird line\n")
    assert tail_of(file, 15) == "third line\n"
    assert tail_of(file) == file.read_text()
    assert tail_of(tmp_path / "none") == ""
