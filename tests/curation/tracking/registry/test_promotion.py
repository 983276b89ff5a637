import pytest

from curation.errors import PublishError
from curation.storage.database import lease
from curation.storage.database.lease import LeaseError
from curation.tracking.registry.promotion import Promotions, history


@pytest.fixture
def promote(promotions, register):
    def promote_content(content, **options):
        version = register(content)
        return promotions.promote("demo", version, by="Ada", why=f"{content} is good", **options)

    return promote_content


@pytest.fixture
def rollback(promotions):
    def roll_back(**options):
        return promotions.rollback("demo", by="Bob", why="it misses cones", **options)

    return roll_back


def test_author_and_reason_are_stored_with_version(registry, promote, rollback):
    promote("a")
    moved = promote("b")
    assert (moved.before, moved.champion, moved.changed) == ("1", "2", True)
    assert moved.sentence == "Version 2 is champion: it replaces version 1."
    rollback()
    tags = registry.versions("demo")[1].tags
    assert (tags["promoted_by"], tags["promoted_why"]) == ("Ada", "b is good")
    assert (tags["withdrawn_by"], tags["withdrawn_why"]) == ("Bob", "it misses cones")
    assert [
        (event.kind, event.before, event.after, event.by) for event in history(registry, "demo")
    ] == [
        ("promote", None, "1", "Ada"),
        ("promote", "1", "2", "Ada"),
        ("rollback", "2", "1", "Bob"),
    ]


def test_rollback_is_idempotent(registry, promote, rollback):
    for content in "abc":
        promote(content)
    assert rollback().champion == "2"
    again = rollback()
    assert (again.champion, again.changed) == ("2", False)
    assert "was already restored by Bob" in again.sentence
    assert "curate rollback demo --of 2" in again.sentence
    assert registry.aliases("demo") == {"champion": "2", "previous": "1"}


def test_named_rollback_goes_further_back(registry, promote, rollback):
    for content in "abc":
        promote(content)
    rollback()
    assert rollback(of="2").champion == "1"
    assert registry.aliases("demo") == {"champion": "1"}
    assert rollback(of="2").changed is False, "repeated"
    with pytest.raises(PublishError, match=r"version 1\) replaced no other version"):
        rollback(of="1")


def test_rollback_of_other_version_is_refused(promote, rollback):
    promote("a")
    promote("b")
    with pytest.raises(PublishError, match="Version 1 of 'demo' is not the champion, which is 2"):
        rollback(of="1")


def test_rollback_without_champion_is_refused(rollback):
    with pytest.raises(PublishError, match=r"version none\) replaced no other"):
        rollback()


def test_rollback_skips_withdrawn_version(registry, promotions, promote, rollback):
    for content in "ab":
        promote(content)
    rollback()
    promote("c")
    assert registry.aliases("demo")["previous"] == "1"
    assert rollback().champion == "1"
    promotions.promote("demo", "2", by="Ada", why="fixed")
    assert registry.aliases("demo") == {"champion": "2", "previous": "1"}


def test_promotion_against_outdated_champion_is_refused(promote, register, promotions):
    promote("a")
    promote("b")
    register("c")
    with pytest.raises(PublishError, match="against version 1, but version 2 is champion now"):
        promotions.promote("demo", "3", by="Ada", why="late", judged_against="1")


def test_concurrent_promotion_names_lease_holder(registry, mongo, register, promotions):
    for content in "ab":
        register(content)
    messages = []

    def meanwhile(step):
        if step == "recorded":
            with pytest.raises(LeaseError) as refused:
                promotions.promote("demo", "2", by="Bob", why="mine is better")
            messages.append(str(refused.value))

    Promotions(registry, mongo, on_step=meanwhile).promote("demo", "1", by="Ada", why="first")
    assert registry.champion("demo") == "1"
    assert messages[0].startswith("Ada holds the lease")


def test_promotion_of_damaged_version_is_refused(registry, promote, register, tmp_path):
    promote("a")
    register("b")
    flip_a_byte(tmp_path, b"b" * 9)
    with pytest.raises(PublishError, match=r"Version 2 .*weights\.safetensors has the SHA-256"):
        promote("b")
    assert registry.aliases("demo") == {"champion": "1"}


def test_rollback_to_incomplete_version_is_refused(registry, promote, rollback, tmp_path):
    promote("a")
    promote("b")
    (weights,) = [path for path in stored_weights(tmp_path) if path.read_bytes() == b"a" * 9]
    weights.unlink()
    with pytest.raises(PublishError, match=r"Version 1 of 'demo' is incomplete: .*weights"):
        rollback()
    assert registry.champion("demo") == "2"


def test_download_names_changed_file(registry, promote, tmp_path):
    promote("a")
    flip_a_byte(tmp_path, b"a" * 9)
    with pytest.raises(PublishError) as refused:
        registry.download("demo", "champion", tmp_path / "to")
    assert "members/tiny/weights.safetensors has the SHA-256" in str(refused.value)
    assert not (tmp_path / "to").exists()


def test_process_with_expired_lease_changes_nothing(registry, mongo, promote, register):
    """Its lease ran out while it slept, and another has taken it."""
    promote("a")
    register("b")

    def sleeps(step):
        if step == "recorded":
            mongo[lease.COLLECTION].update_one({}, {"$set": {"owner": "another", "token": 99}})

    with pytest.raises(LeaseError, match="expired and was taken over"):
        Promotions(registry, mongo, on_step=sleeps).promote("demo", "2", by="Ada", why="late")
    assert registry.champion("demo") == "1"


def stored_weights(tmp_path):
    """Return the weights in the registry's store."""
    return list((tmp_path / "home" / "mlartifacts").rglob("weights.safetensors"))


def flip_a_byte(tmp_path, content):
    for path in stored_weights(tmp_path):
        if path.read_bytes() == content:
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
            return
    raise AssertionError(f"{content} is not stored")
