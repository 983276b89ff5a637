"""Packaged manifests, and the errors of wrong ones."""

import copy
import re

import pytest
import yaml

from cascade import manifest, registry, taxonomy
from cascade.checkpoints import licenses
from cascade.errors import ManifestError
from cascade.manifest import Budget, Fusion, Member, Routing
from cascade.models.exported.coco_classes import NAMES

MEMBER = {
    "name": "one",
    "tier": "detection",
    "adapter": "center_point",
    "source": "package:tiny_center",
    "license": "MIT",
}
CONTENT = {"name": "mine", "members": [MEMBER, {**MEMBER, "name": "two", "weight": 2.0}]}


def text(**change):
    return yaml.safe_dump({**CONTENT, **change})


def with_member(**change):
    content = copy.deepcopy(CONTENT)
    content["members"][1].update(change)
    return yaml.safe_dump(content)


def test_defaults():
    parsed = manifest.parse(text())
    assert parsed.routing == Routing(
        agreement=0.65,
        threshold=0.5,
        stop_below=0.05,
        stop_above=0.95,
        fast_a_from=0.85,
        fast_b_from=0.70,
        adjudicate=(0.25, 0.75),
    )
    assert parsed.fusion == Fusion(
        nms_iou=0.6,
        min_p=0.05,
        iou=0.55,
        small_iou=0.4,
        small_px=32.0,
        epsilon=0.02,
        silence=0.02,
    )
    assert parsed.budget == Budget()
    assert parsed.taxonomy == "roadwork"


def test_member_and_of_tier():
    parsed = manifest.parse(text())
    assert parsed.member("two").weight == 2.0
    assert [member.name for member in parsed.of_tier("detection")] == ["one", "two"]
    assert parsed.of_tier("language") == ()
    with pytest.raises(ManifestError, match=r"has no member 'twoo'\. Did you mean 'two'"):
        parsed.member("twoo")


WRONG = [
    pytest.param("members: [", "is not valid YAML", id="invalid YAML"),
    pytest.param("", "top level: ", id="empty"),
    pytest.param(
        yaml.safe_dump({"name": "mine"}), "members: is required and missing", id="missing key"
    ),
    pytest.param(text(members=[]), "members: .* at least 1", id="no members"),
    pytest.param(
        text(memberz=[]),
        "memberz: unknown key. Did you mean 'members'",
        id="misspelled key",
    ),
    pytest.param(
        with_member(wieght=1),
        r"members\[1\].wieght: unknown key. Did you mean 'weight'",
        id="misspelled key of a member",
    ),
    pytest.param(
        text(fusion={"nms": 0.5}),
        "fusion.nms: unknown key. Did you mean 'nms_iou'",
        id="misspelled key of the fusion",
    ),
    pytest.param(
        with_member(adapter="centre_point"),
        r"members\[1\].adapter: .* Did you mean 'center_point'",
        id="misspelled adapter",
    ),
    pytest.param(
        with_member(tier="detektion"), r"members\[1\].tier: must be .* got 'detektion'", id="tier"
    ),
    pytest.param(
        with_member(tier="embedding"),
        r"members\[1\].tier: the adapter 'center_point' belongs to the tier 'detection'",
        id="tier of another adapter",
    ),
    pytest.param(
        with_member(weight=0), r"members\[1\].weight: .* greater than 0, got 0", id="weight of 0"
    ),
    pytest.param(
        with_member(name="One Two"), r"members\[1\].name: .*match", id="name with a space"
    ),
    pytest.param(
        with_member(name="one"),
        r"members\[1\].name: two members are named 'one'",
        id="duplicate name",
    ),
    pytest.param(with_member(license=""), r"members\[1\].license: ", id="empty license"),
    pytest.param(with_member(precision="fp8"), r"members\[1\].precision: must be", id="precision"),
    pytest.param(with_member(batch_size=0), r"members\[1\].batch_size: .*got 0", id="batch of 0"),
    pytest.param(
        with_member(vocabulary=["cone", "druum"]),
        r"members\[1\].vocabulary: no class is named 'druum'. Did you mean 'drum'",
        id="unknown class",
    ),
    pytest.param(
        text(taxonomy="roadwerk"),
        "taxonomy: No packaged taxonomy is named 'roadwerk'. Did you mean 'roadwork'",
        id="misspelled taxonomy",
    ),
    pytest.param(text(fusion={"iou": 1.5}), "fusion.iou: .*got 1.5", id="IoU above 1"),
    pytest.param(text(fusion={"epsilon": 0.5}), "fusion.epsilon: ", id="epsilon of 0.5"),
    pytest.param(
        text(routing={"fast_a_from": 0.6}), "routing: .*fast_b_from <= fast_a_from", id="routing"
    ),
    pytest.param(
        text(routing={"adjudicate": [0.8, 0.2]}),
        "routing: .*adjudicate must be in ascending order",
        id="interval",
    ),
    pytest.param(text(budget={"mcc_floor": 2}), "budget.mcc_floor: ", id="floor above 1"),
    pytest.param(
        text(routing={"fast_a": ["one"]}),
        "routing.fast_a: no member of the tier 'language' is named 'one'. Known: none",
        id="path to a detector",
    ),
    pytest.param(with_member(memory_mb=0), r"members\[1\].memory_mb: .*greater than 0", id="mem"),
    pytest.param(with_member(gflops=-1), r"members\[1\].gflops: .*equal to 0", id="negative"),
]


@pytest.mark.parametrize(("content", "message"), WRONG)
def test_wrong_manifest_error_has_the_path(content, message):
    with pytest.raises(ManifestError, match=f"mine.yaml:? .*{message}") as caught:
        manifest.parse(content, origin="mine.yaml")
    assert "\n" not in str(caught.value)


def test_error_shortens_long_values():
    with pytest.raises(ManifestError, match=re.escape("...")) as caught:
        manifest.parse(text(fusion="x" * 500))
    assert len(str(caught.value)) < 200


def test_parse_with_another_taxonomy():
    park = taxonomy.from_labels("park", ["tree", "bench"], ["tree"])
    parsed = manifest.parse(with_member(vocabulary=["tree"]), classes=park)
    assert parsed.member("two").vocabulary == ("tree",)
    with pytest.raises(ManifestError, match="no class is named 'tree'"):
        manifest.parse(with_member(vocabulary=["tree"]))


def test_yaml_round_trip():
    parsed = manifest.parse(text(routing={"agreement": 0.7}, budget={"p99_latency_ms": 50}))
    copy_ = manifest.parse(parsed.to_yaml())
    assert copy_ == parsed
    assert copy_.identity == parsed.identity


def test_identity_depends_on_the_content():
    base = manifest.parse(text())
    changes = [text(version=2), text(fusion={"iou": 0.5}), with_member(weight=3.0)]
    assert len({base.identity, *(manifest.parse(change).identity for change in changes)}) == 4
    assert len(base.identity) == 16


def test_identity_excludes_descriptive_values():
    described = with_member(
        parameters_m=3, gflops=4, memory_mb=5, gated=True, homepage="https://example.com"
    )
    parsed = manifest.parse(described)
    assert parsed.identity == manifest.parse(with_member()).identity
    assert manifest.parse(parsed.to_yaml()) == parsed


COMMIT, SHA256 = "0123456789abcdef0123456789abcdef01234567", "ab" * 32
PINS = [
    pytest.param({"source": "hub:a/b", "revision": COMMIT}, "a/b", True, id="commit"),
    pytest.param({"source": "hub:a/b", "revision": "main"}, "a/b", False, id="branch"),
    pytest.param({"source": "hub:a/b", "revision": COMMIT[:7]}, "a/b", False, id="short commit"),
    pytest.param({"source": "hub:a/b"}, "a/b", False, id="no revision"),
    pytest.param({"source": "release:a.pt"}, None, False, id="release without hash"),
    pytest.param(
        {"source": "release:a.pt", "revision": SHA256}, None, True, id="release with hash"
    ),
    pytest.param(
        {"source": "release:a.pt", "revision": COMMIT}, None, False, id="release with a commit"
    ),
    pytest.param({"source": "package:tiny_center"}, None, True, id="packaged"),
    pytest.param({"source": "/my/folder"}, None, True, id="folder"),
    pytest.param({"source": None}, None, True, id="no source"),
]


@pytest.mark.parametrize(("change", "repository", "is_pinned"), PINS)
def test_is_pinned(change, repository, is_pinned):
    member = Member(**{**MEMBER, **change})
    assert (member.repository, member.is_pinned) == (repository, is_pinned)


def test_language_member_is_pinned_by_its_model():
    served = {"name": "vlm", "tier": "language", "adapter": "vision_language", "license": "MIT"}
    member = Member(**served, params={"model": "a/b"})
    assert (member.repository, member.is_pinned) == ("a/b", False)
    assert Member(**served, params={"model": "a/b"}, revision=COMMIT).is_pinned


VLM = {
    "name": "vlm", "tier": "language", "adapter": "vision_language", "license": "CC-BY-NC-4.0",
    "optional": True, "params": {"model": "a/b"},
}  # fmt: skip
STRICT = {**MEMBER, "name": "strict", "license": "AGPL-3.0", "optional": True}
MIXED = text(members=[MEMBER, STRICT, VLM], routing={"fast_a": ["vlm"], "precision": ["vlm"]})


@pytest.mark.parametrize(
    ("strictest", "excluded"),
    [
        (None, []),
        ("permissive", ["strict", "vlm"]),
        ("copyleft", ["vlm"]),
        ("custom", ["vlm"]),
        ("non-commercial", []),
    ],
)
def test_restricted_to_removes_stricter_members_and_their_routes(strictest, excluded):
    mixed = manifest.parse(MIXED)
    assert list(mixed.excluded_by_license(strictest)) == excluded
    restricted = mixed.restricted_to(strictest)
    assert [member.name for member in restricted.members] == [
        member.name for member in mixed.members if member.name not in excluded
    ]
    assert restricted.routing.fast_a == (() if "vlm" in excluded else ("vlm",))
    assert (restricted.identity == mixed.identity) is (not excluded)


def test_reason_of_an_excluded_member():
    excluded = manifest.parse(MIXED).excluded_by_license("permissive")
    assert excluded["vlm"] == (
        "The license CC-BY-NC-4.0 of vlm is non-commercial; only permissive is allowed."
    )


def test_required_members_with_a_stricter_license_raise():
    required = [{**STRICT, "name": name, "optional": False} for name in ("two", "three")]
    parsed = manifest.parse(text(members=[MEMBER, *required, VLM]))
    with pytest.raises(ManifestError, match=r"not permissive: two \(AGPL-3.0\), three \(AGPL"):
        parsed.excluded_by_license("permissive")
    assert list(parsed.excluded_by_license("copyleft")) == ["vlm"]


def test_restricted_to_without_any_member_left_raises():
    with pytest.raises(ManifestError, match="No member of 'mine' has a permissive license"):
        manifest.parse(text(members=[STRICT])).restricted_to("permissive")


def test_with_revisions():
    parsed = manifest.parse(text()).with_revisions({"two": COMMIT})
    assert [member.revision for member in parsed.members] == [None, COMMIT]
    assert parsed.identity != manifest.parse(text()).identity


ROADWORK = manifest.load("roadwork")


def test_roadwork_has_26_members_in_all_tiers():
    assert len(ROADWORK.members) == 26
    tiers = {
        tier: len(ROADWORK.of_tier(tier)) for tier in {member.tier for member in ROADWORK.members}
    }
    assert tiers == {
        "embedding": 3,
        "detection": 14,
        "geometry": 3,
        "segmentation": 3,
        "language": 3,
    }
    paths = (ROADWORK.routing.fast_a, ROADWORK.routing.fast_b, ROADWORK.routing.precision)
    assert paths == (("vlm_fast_a",), ("vlm_fast_b",), ("vlm_precision",))


def test_members_with_special_needs_are_optional():
    for member in ROADWORK.members:
        own_process = member.adapter in ("worker", "vision_language", "yoloe", "ultralytics")
        strict = member.gated or not licenses.accepts("permissive", member.license)
        if own_process or strict or registry.get(member.adapter).needs:
            assert member.optional, member.name


def test_detectors_have_a_vocabulary_or_are_prompted():
    coco = set(taxonomy.load("roadwork").vocabulary(NAMES))
    for packaged in (ROADWORK, manifest.load("roadwork_lite")):
        for member in packaged.of_tier("detection"):
            if registry.get(member.adapter).takes_taxonomy:
                assert member.vocabulary is None, member.name
            else:
                assert set(member.vocabulary) == coco, member.name


def test_roadwork_lite_is_permissive():
    lite = manifest.load("roadwork_lite")
    assert lite.excluded_by_license("permissive") == {}
    assert not any(member.gated for member in lite.members)


@pytest.mark.parametrize("name", ["roadwork", "roadwork_lite"])
def test_revisions_of_packaged_manifests_are_commits(name):
    pinned = [member for member in manifest.load(name).members if member.revision]
    assert len(pinned) >= 5
    assert all(member.is_pinned for member in pinned)


def test_members_of_both_manifests_agree():
    lite = {member.name: member for member in manifest.load("roadwork_lite").members}
    for member in ROADWORK.members:
        if member.name in lite:
            same_weight = lite[member.name].model_copy(update={"weight": member.weight})
            assert same_weight == member


@pytest.mark.parametrize("name", manifest.packaged_names())
def test_packaged_manifest_is_valid(name):
    packaged = manifest.load(name)
    assert packaged.name == name
    assert manifest.parse(packaged.to_yaml()) == packaged
    assert {member.adapter for member in packaged.members} <= set(registry.names())


def test_tiny_has_two_detectors_without_optional_packages():
    tiny = manifest.load("tiny")
    detectors = tiny.of_tier("detection")
    plain = [member for member in detectors if not registry.get(member.adapter).needs]
    assert len(plain) >= 2
    assert all(member.optional for member in detectors if member not in plain)


def test_load_file(tmp_path):
    file = tmp_path / "mine.yml"
    file.write_text(text())
    assert manifest.load(file) == manifest.parse(text())


MISSING = [
    pytest.param("tinny", "No packaged manifest is named 'tinny'. Did you mean 'tiny'", id="name"),
    pytest.param("/no/such/mine.yaml", "find the manifest file /no/such/mine.yaml", id="file"),
]


@pytest.mark.parametrize(("source", "message"), MISSING)
def test_load_missing(source, message):
    with pytest.raises(ManifestError, match=message):
        manifest.load(source)


def test_params_are_not_shared_between_members():
    first, second = (Member(**{**MEMBER, "name": name}) for name in ("one", "two"))
    assert first.params == second.params == {}
    assert first.params is not second.params


def test_licence_is_read_as_license_with_an_equal_identity():
    old = {("licence" if key == "license" else key): MEMBER[key] for key in MEMBER}
    parsed = manifest.parse(text(members=[old]))
    assert parsed == manifest.parse(text(members=[MEMBER]))
    assert parsed.member("one").license == "MIT"
    assert "license: MIT" in parsed.to_yaml()


@pytest.mark.parametrize(
    ("name", "identity"), [("tiny", "e08c55b41f53366e"), ("roadwork", "a5141365331ecd71")]
)
def test_identity_of_packaged_manifests_equals_release_0_1(name, identity):
    assert manifest.load(name).identity == identity
