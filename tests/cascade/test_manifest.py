"""Manifests: those that ship, and everything that a wrong one is told."""

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
    "licence": "MIT",
}
CONTENT = {"name": "mine", "members": [MEMBER, {**MEMBER, "name": "two", "weight": 2.0}]}


def text(**change):
    return yaml.safe_dump({**CONTENT, **change})


def with_member(**change):
    content = copy.deepcopy(CONTENT)
    content["members"][1].update(change)
    return yaml.safe_dump(content)


def test_defaults_are_those_of_the_design():
    mine = manifest.parse(text())
    assert mine.routing == Routing(
        agreement=0.65,
        threshold=0.5,
        stop_below=0.05,
        stop_above=0.95,
        fast_a_from=0.85,
        fast_b_from=0.70,
        adjudicate=(0.25, 0.75),
    )
    assert mine.fusion == Fusion(
        nms_iou=0.6,
        min_p=0.05,
        iou=0.55,
        small_iou=0.4,
        small_px=32.0,
        epsilon=0.02,
        silence=0.02,
    )
    assert mine.budget == Budget()
    assert mine.taxonomy == "roadwork"


def test_members_are_found_by_name_and_tier():
    mine = manifest.parse(text())
    assert mine.member("two").weight == 2.0
    assert [one.name for one in mine.of_tier("detection")] == ["one", "two"]
    assert mine.of_tier("language") == ()
    with pytest.raises(ManifestError, match=r"has no member 'twoo'\. Did you mean 'two'"):
        mine.member("twoo")


WRONG = [
    pytest.param("members: [", "is no YAML", id="no YAML"),
    pytest.param("", "top level: ", id="empty"),
    pytest.param(yaml.safe_dump({"name": "mine"}), "members: is required and missing", id="no key"),
    pytest.param(text(members=[]), "members: .* at least 1", id="no members"),
    pytest.param(text(memberz=[]), "memberz: there is no such key. Did you mean 'members'", id="k"),
    pytest.param(
        with_member(wieght=1),
        r"members\[1\].wieght: there is no such key. Did you mean 'weight'",
        id="a misspelt key of a member",
    ),
    pytest.param(
        text(fusion={"nms": 0.5}),
        "fusion.nms: there is no such key. Did you mean 'nms_iou'",
        id="a misspelt key of the fusion",
    ),
    pytest.param(
        with_member(adapter="centre_point"),
        r"members\[1\].adapter: .* Did you mean 'center_point'",
        id="a misspelt adapter",
    ),
    pytest.param(
        with_member(tier="detektion"), r"members\[1\].tier: must be .* got 'detektion'", id="tier"
    ),
    pytest.param(
        with_member(tier="embedding"),
        r"members\[1\].tier: the adapter 'center_point' works in the tier 'detection'",
        id="a tier that the adapter does not serve",
    ),
    pytest.param(with_member(weight=0), r"members\[1\].weight: .* greater than 0, got 0", id="w"),
    pytest.param(
        with_member(name="One Two"), r"members\[1\].name: .*match", id="a name with space"
    ),
    pytest.param(
        with_member(name="one"), r"members\[1\].name: two members are named 'one'", id="2"
    ),
    pytest.param(with_member(licence=""), r"members\[1\].licence: ", id="no licence"),
    pytest.param(with_member(precision="fp8"), r"members\[1\].precision: must be", id="precision"),
    pytest.param(with_member(batch_size=0), r"members\[1\].batch_size: .*got 0", id="batch of 0"),
    pytest.param(
        with_member(vocabulary=["cone", "druum"]),
        r"members\[1\].vocabulary: no class is named 'druum'. Did you mean 'drum'",
        id="a word that the taxonomy does not know",
    ),
    pytest.param(
        text(taxonomy="roadwerk"),
        "taxonomy: No taxonomy is named 'roadwerk'. Did you mean 'roadwork'",
        id="a misspelt taxonomy",
    ),
    pytest.param(text(fusion={"iou": 1.5}), "fusion.iou: .*got 1.5", id="an overlap above 1"),
    pytest.param(text(fusion={"epsilon": 0.5}), "fusion.epsilon: ", id="clipping everything away"),
    pytest.param(
        text(routing={"fast_a_from": 0.6}), "routing: .*fast_b_from <= fast_a_from", id="routing"
    ),
    pytest.param(
        text(routing={"adjudicate": [0.8, 0.2]}), "routing: .*adjudicate must ascend", id="interval"
    ),
    pytest.param(text(budget={"mcc_floor": 2}), "budget.mcc_floor: ", id="a floor above 1"),
    pytest.param(
        text(routing={"fast_a": ["one"]}),
        "routing.fast_a: no member of the tier 'language' is named 'one'. Known: none",
        id="a path to a detector",
    ),
    pytest.param(with_member(memory_mb=0), r"members\[1\].memory_mb: .*greater than 0", id="mem"),
    pytest.param(with_member(gflops=-1), r"members\[1\].gflops: .*equal to 0", id="less than none"),
]


@pytest.mark.parametrize(("content", "message"), WRONG)
def test_a_wrong_manifest_is_told_where(content, message):
    with pytest.raises(ManifestError, match=f"mine.yaml:? .*{message}") as caught:
        manifest.parse(content, origin="mine.yaml")
    assert "\n" not in str(caught.value)


def test_long_values_are_shortened():
    with pytest.raises(ManifestError, match=re.escape("...")) as caught:
        manifest.parse(text(fusion="x" * 500))
    assert len(str(caught.value)) < 200


def test_another_taxonomy_can_be_checked_against():
    park = taxonomy.from_labels("park", ["tree", "bench"], ["tree"])
    mine = manifest.parse(with_member(vocabulary=["tree"]), classes=park)
    assert mine.member("two").vocabulary == ("tree",)
    with pytest.raises(ManifestError, match="no class is named 'tree'"):
        manifest.parse(with_member(vocabulary=["tree"]))


def test_yaml_there_and_back():
    mine = manifest.parse(text(routing={"agreement": 0.7}, budget={"p99_latency_ms": 50}))
    again = manifest.parse(manifest.to_yaml(mine))
    assert again == mine
    assert again.identity == mine.identity


def test_the_identity_follows_the_content():
    base = manifest.parse(text())
    changes = [text(version=2), text(fusion={"iou": 0.5}), with_member(weight=3.0)]
    assert len({base.identity, *(manifest.parse(one).identity for one in changes)}) == 4
    assert len(base.identity) == 16


def test_what_only_describes_a_member_is_not_in_the_identity():
    told = with_member(
        parameters_m=3, gflops=4, memory_mb=5, gated=True, homepage="https://example.com"
    )
    told = manifest.parse(told)
    assert told.identity == manifest.parse(with_member()).identity
    assert manifest.parse(manifest.to_yaml(told)) == told


COMMIT, SHA256 = "0123456789abcdef0123456789abcdef01234567", "ab" * 32
PINS = [
    pytest.param({"source": "hub:a/b", "revision": COMMIT}, "a/b", True, id="a commit"),
    pytest.param({"source": "hub:a/b", "revision": "main"}, "a/b", False, id="a branch moves"),
    pytest.param({"source": "hub:a/b", "revision": COMMIT[:7]}, "a/b", False, id="part of one"),
    pytest.param({"source": "hub:a/b"}, "a/b", False, id="nothing"),
    pytest.param({"source": "release:a.pt"}, None, False, id="a release without its hash"),
    pytest.param({"source": "release:a.pt", "revision": SHA256}, None, True, id="with its hash"),
    pytest.param({"source": "release:a.pt", "revision": COMMIT}, None, False, id="not a commit"),
    pytest.param({"source": "package:tiny_center"}, None, True, id="packaged"),
    pytest.param({"source": "/my/folder"}, None, True, id="a folder is its content"),
    pytest.param({"source": None}, None, True, id="the adapter brings it"),
]


@pytest.mark.parametrize(("change", "repository", "is_pinned"), PINS)
def test_what_is_fetched_is_pinned_by_a_hash(change, repository, is_pinned):
    one = Member(**{**MEMBER, **change})
    assert (one.repository, one.is_pinned) == (repository, is_pinned)


def test_a_language_model_is_pinned_where_its_server_gets_it():
    served = {"name": "vlm", "tier": "language", "adapter": "vision_language", "licence": "MIT"}
    one = Member(**served, params={"model": "a/b"})
    assert (one.repository, one.is_pinned) == ("a/b", False)
    assert Member(**served, params={"model": "a/b"}, revision=COMMIT).is_pinned


VLM = {
    "name": "vlm", "tier": "language", "adapter": "vision_language", "licence": "CC-BY-NC-4.0",
    "optional": True, "params": {"model": "a/b"},
}  # fmt: skip
STRICT = {**MEMBER, "name": "strict", "licence": "AGPL-3.0", "optional": True}
MIXED = text(members=[MEMBER, STRICT, VLM], routing={"fast_a": ["vlm"], "precision": ["vlm"]})


@pytest.mark.parametrize(
    ("licence", "refused"),
    [
        (None, []),
        ("permissive", ["strict", "vlm"]),
        ("copyleft", ["vlm"]),
        ("custom", ["vlm"]),
        ("non-commercial", []),
    ],
)
def test_a_licence_refuses_what_is_stricter(licence, refused):
    mixed = manifest.parse(MIXED)
    assert list(mixed.refused(licence)) == refused
    kept = mixed.restricted_to(licence)
    assert [one.name for one in kept.members] == [
        one.name for one in mixed.members if one.name not in refused
    ]
    assert kept.routing.fast_a == (() if "vlm" in refused else ("vlm",))
    assert (kept.identity == mixed.identity) is (not refused)


def test_the_reason_names_licence_and_kind():
    refused = manifest.parse(MIXED).refused("permissive")
    assert refused["vlm"] == "Its licence CC-BY-NC-4.0 is non-commercial; permissive is asked for."


def test_needed_members_of_a_stricter_licence_are_an_error_that_names_them_all():
    needed = [{**STRICT, "name": name, "optional": False} for name in ("two", "three")]
    mine = manifest.parse(text(members=[MEMBER, *needed, VLM]))
    with pytest.raises(ManifestError, match=r"not permissive: two \(AGPL-3.0\), three \(AGPL"):
        mine.refused("permissive")
    assert list(mine.refused("copyleft")) == ["vlm"]


def test_a_manifest_of_which_nothing_is_left_is_refused():
    with pytest.raises(ManifestError, match="No member of 'mine' has a permissive licence"):
        manifest.parse(text(members=[STRICT])).restricted_to("permissive")


def test_revisions_are_replaced_by_name():
    mine = manifest.parse(text()).with_revisions({"two": COMMIT})
    assert [one.revision for one in mine.members] == [None, COMMIT]
    assert mine.identity != manifest.parse(text()).identity


ROADWORK = manifest.load("roadwork")


def test_roadwork_is_the_ensemble_of_26_over_all_tiers():
    assert len(ROADWORK.members) == 26
    tiers = {tier: len(ROADWORK.of_tier(tier)) for tier in {one.tier for one in ROADWORK.members}}
    assert tiers == {
        "embedding": 3,
        "detection": 14,
        "geometry": 3,
        "segmentation": 3,
        "language": 3,
    }
    asked = (ROADWORK.routing.fast_a, ROADWORK.routing.fast_b, ROADWORK.routing.precision)
    assert asked == (("vlm_fast_a",), ("vlm_fast_b",), ("vlm_precision",))


def test_what_cannot_run_everywhere_is_optional():
    for one in ROADWORK.members:
        own_process = one.adapter in ("worker", "vision_language", "yoloe", "ultralytics")
        strict = one.gated or not licenses.accepts("permissive", one.licence)
        if own_process or strict or registry.get(one.adapter).needs:
            assert one.optional, one.name


def test_detectors_say_what_they_can_name_or_are_asked_for_it():
    coco = set(taxonomy.load("roadwork").vocabulary(NAMES))
    for packaged in (ROADWORK, manifest.load("roadwork_lite")):
        for one in packaged.of_tier("detection"):
            if registry.get(one.adapter).takes_taxonomy:
                assert one.vocabulary is None, one.name
            else:
                assert set(one.vocabulary) == coco, one.name


def test_roadwork_lite_is_permissive_throughout():
    lite = manifest.load("roadwork_lite")
    assert lite.refused("permissive") == {}
    assert not any(one.gated for one in lite.members)


@pytest.mark.parametrize("name", ["roadwork", "roadwork_lite"])
def test_revisions_of_packaged_manifests_are_commits(name):
    told = [one for one in manifest.load(name).members if one.revision]
    assert len(told) >= 5
    assert all(one.is_pinned for one in told)


def test_members_of_both_manifests_have_one_cost_and_one_commit():
    lite = {one.name: one for one in manifest.load("roadwork_lite").members}
    for one in ROADWORK.members:
        if one.name in lite:
            same = lite[one.name].model_copy(update={"weight": one.weight})
            assert same == one


@pytest.mark.parametrize("name", manifest.packaged_names())
def test_every_packaged_manifest_is_whole(name):
    packaged = manifest.load(name)
    assert packaged.name == name
    assert manifest.parse(manifest.to_yaml(packaged)) == packaged
    assert {one.adapter for one in packaged.members} <= set(registry.names())


def test_tiny_needs_no_optional_package_for_two_detectors():
    tiny = manifest.load("tiny")
    detectors = tiny.of_tier("detection")
    plain = [one for one in detectors if not registry.get(one.adapter).needs]
    assert len(plain) >= 2
    assert all(one.optional for one in detectors if one not in plain)


def test_a_file_is_loaded(tmp_path):
    file = tmp_path / "mine.yml"
    file.write_text(text())
    assert manifest.load(file) == manifest.parse(text())


MISSING = [
    pytest.param("tinny", "No manifest is named 'tinny'. Did you mean 'tiny'", id="name"),
    pytest.param("/no/such/mine.yaml", "no manifest file at /no/such/mine.yaml", id="file"),
]


@pytest.mark.parametrize(("source", "message"), MISSING)
def test_what_is_not_there_is_told(source, message):
    with pytest.raises(ManifestError, match=message):
        manifest.load(source)


def test_params_are_not_shared_between_members():
    one, two = (Member(**{**MEMBER, "name": name}) for name in ("one", "two"))
    assert one.params == two.params == {}
    assert one.params is not two.params
