from curation.errors import IngestError
from curation.jobs.nightly import folder_watcher


def run(folder, steps):
    """Watch a folder that each step changes between two looks; return when it was brought in."""
    brought, look = [], iter(range(len(steps) + 1))
    now = next(look)

    def sleep(_):
        nonlocal now
        steps[now]()
        now = next(look)

    folder_watcher.watch(
        folder, lambda: brought.append(now), sleep=sleep, stop=lambda: now == len(steps)
    )
    return brought


def test_complete_files_are_ingested_once(tmp_path):
    file = tmp_path / "drive" / "a.jpg"
    file.parent.mkdir()

    def grow():
        with file.open("ab") as opened:
            opened.write(b"x" * 10)

    def nothing():
        pass

    # looks: 0 empty; 1 first bytes; 2 more of them; 3 the same: brought; 4 and 5 nothing new;
    # 6 another file; 7 the same: brought
    other = (tmp_path / "b.jpg").touch
    assert run(tmp_path, [grow, grow, nothing, nothing, nothing, other, nothing, nothing]) == [3, 7]


def test_error_is_logged_once_and_retried(tmp_path, caplog):
    (tmp_path / "notes.txt").write_text("x")
    tries, looks = [], iter(range(6))

    def bring():
        tries.append(1)
        if len(tries) < 4:
            raise IngestError("The folder holds no images.")

    folder_watcher.watch(tmp_path, bring, sleep=lambda _: None, stop=lambda: next(looks) == 5)
    assert len(tries) == 4
    assert caplog.messages == ["The folder holds no images. Retrying."]


def test_empty_folder_and_hidden_files_are_ignored(tmp_path):
    (tmp_path / ".part").write_text("x")
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / "a.jpg").write_text("x")
    assert folder_watcher.list_files(tmp_path) == frozenset()
    assert run(tmp_path, [lambda: None] * 4) == []
    assert folder_watcher.list_files(tmp_path / "no such folder") == frozenset()
