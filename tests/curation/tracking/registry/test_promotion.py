import pytest

from curation.errors import PublishError
from curation.storage.database import lease
from curation.storage.database.lease import LeaseError
from curation.tracking.registry.promotion import Promotions, history


@pytest.fixture
def promote(promotions, register):
    def one(content, **options):
        version = register(content)
        return promotions.promote("demo", version, by="Ada", why=f"{content} is good", **options)

    return one


@pytest.fixture
def rollback(promotions):
    def one(**options):
        return promotions.rollback("demo", by="Bob", why="it misses cones", **options)

    return one


def test_who_promoted_what_and_why_is_kept_with_the_version(registry, promote, rollback):
    promote("a")
    moved = promote("b")
    assert (moved.before, moved.champion, moved.changed) == ("1", "2", True)
    assert moved.sentence == "Version 2 is champion: it replaces version 1."
    rollback()
    tags = registry.versions("demo")[1].tags
    assert (tags["promoted_by"], tags["promoted_why"]) == ("Ada", "b is good")
    assert (tags["withdrawn_by"], tags["withdrawn_why"]) == ("Bob", "it misses cones")
    assert [(one.kind, one.before, one.after, one.by) for one in history(registry, "demo")] == [
        ("promote", None, "1", "Ada"),
        ("promote", "1", "2", "Ada"),
        ("rollback", "2", "1", "Bob"),
    ]


def test_rolling_back_twice_is_rolling_back_once(registry, promote, rollback):
    for content in "abc":
        promote(content)
    assert rollback().champion == "2"
    again = rollback()
    assert (again.champion, again.changed) == ("2", False)
    assert "put back into service already, by Bob" in again.sentence
    assert "curate rollback demo --of 2" in again.sentence
    assert registry.aliases("demo") == {"champion": "2", "previous": "1"}


def test_one_who_names_the_version_goes_one_further(registry, promote, rollback):
    for content in "abc":
        promote(content)
    rollback()
    assert rollback(of="2").champion == "1"
    assert registry.aliases("demo") == {"champion": "1"}
    assert rollback(of="2").changed is False, "said twice"
    with pytest.raises(PublishError, match=r"version 1\) has replaced no other version"):
        rollback(of="1")


def test_a_version_that_is_not_in_service_is_not_withdrawn(promote, rollback):
    promote("a")
    promote("b")
    with pytest.raises(PublishError, match="Version 1 of 'demo' is not in service: version 2 is"):
        rollback(of="1")


def test_rolling_back_before_anything_was_promoted_is_refused(rollback):
    with pytest.raises(PublishError, match=r"version none\) has replaced no other"):
        rollback()


def test_a_version_that_was_withdrawn_is_passed_over(registry, promotions, promote, rollback):
    for content in "ab":
        promote(content)
    rollback()
    promote("c")
    assert registry.aliases("demo")["previous"] == "1"
    assert rollback().champion == "1"
    promotions.promote("demo", "2", by="Ada", why="mended")
    assert registry.aliases("demo") == {"champion": "2", "previous": "1"}


def test_a_promotion_over_another_champion_is_refused(promote, register, promotions):
    promote("a")
    promote("b")
    register("c")
    with pytest.raises(PublishError, match="judged against version 1, but version 2 is champion"):
        promotions.promote("demo", "3", by="Ada", why="late", over="1")


def test_while_one_promotes_the_other_is_told_who_does(registry, mongo, register, promotions):
    for content in "ab":
        register(content)
    told = []

    def meanwhile(step):
        if step == "recorded":
            with pytest.raises(LeaseError) as refused:
                promotions.promote("demo", "2", by="Bob", why="mine is better")
            told.append(str(refused.value))

    Promotions(registry, mongo, at=meanwhile).promote("demo", "1", by="Ada", why="first")
    assert registry.champion("demo") == "1"
    assert told[0].startswith("Ada holds the lease")


def test_a_champion_with_a_flipped_byte_is_never_made(registry, promote, register, tmp_path):
    promote("a")
    register("b")
    flip_a_byte(tmp_path, b"b" * 9)
    with pytest.raises(PublishError, match=r"Version 2 .*weights\.safetensors has the sha256"):
        promote("b")
    assert registry.aliases("demo") == {"champion": "1"}


def test_a_rollback_to_a_version_without_its_files_is_refused(
    registry, promote, rollback, tmp_path
):
    promote("a")
    promote("b")
    (weights,) = [one for one in kept(tmp_path) if one.read_bytes() == b"a" * 9]
    weights.unlink()
    with pytest.raises(PublishError, match=r"Version 1 of 'demo' is not complete: .*weights"):
        rollback()
    assert registry.champion("demo") == "2"


def test_a_changed_byte_is_refused_by_its_name(registry, promote, tmp_path):
    promote("a")
    flip_a_byte(tmp_path, b"a" * 9)
    with pytest.raises(PublishError) as refused:
        registry.download("demo", "champion", tmp_path / "to")
    assert "members/tiny/weights.safetensors has the sha256" in str(refused.value)
    assert not (tmp_path / "to").exists()


def test_a_late_process_is_told_before_it_does_harm(registry, mongo, promote, register):
    """Its lease ran out while it slept, and another has taken it."""
    promote("a")
    register("b")

    def sleeps(step):
        if step == "recorded":
            mongo[lease.COLLECTION].update_one({}, {"$set": {"owner": "another", "token": 99}})

    with pytest.raises(LeaseError, match="expired and was taken over"):
        Promotions(registry, mongo, at=sleeps).promote("demo", "2", by="Ada", why="late")
    assert registry.champion("demo") == "1"


def kept(tmp_path):
    """Return the weights in the registry's store."""
    return list((tmp_path / "home" / "mlartifacts").rglob("weights.safetensors"))


def flip_a_byte(tmp_path, content):
    for one in kept(tmp_path):
        if one.read_bytes() == content:
            one.write_bytes(bytes([content[0] ^ 1]) + content[1:])
            return
    raise AssertionError(f"{content} is nowhere")
