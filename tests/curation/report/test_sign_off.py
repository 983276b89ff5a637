from curation.report.render import html
from curation.report.sign_off import Candidate, compose, digest

CANDIDATE = Candidate("site", 4, champion="6", challenger="7", facts={"licences": "MIT (2)"})
VERDICT = {
    "outcome": "promote",
    "reasons": ["MCC 0.900 → 0.950."],
    "checks": [
        {"name": "mcc", "passed": True, "value": 0.02, "limit": 0.0, "sentence": "better"},
        {"name": "slice rain", "passed": None, "value": None, "limit": None, "sentence": "<few>"},
    ],
    "delta_mcc": 0.05,
    "lower": 0.02,
    "upper": 0.08,
    "n_images": 1200,
    "n_groups": 90,
    "needed": None,
    "warnings": ["The set has 1,200 images."],
}


def test_page_lists_evidence_and_command():
    text = html.render(compose(CANDIDATE, VERDICT))
    for expected in (
        "Version 7 may be promoted over version 6.",
        "MCC changed by +0.0500; one-sided 95 % bounds +0.0200 and +0.0800.",
        "Note: The set has 1,200 images.",
        "curate promote site 7 --by &#39;YOUR NAME&#39; --why &#39;YOUR REASON&#39;",
        digest(VERDICT),
        "&lt;few&gt;",
        "MIT (2)",
    ):
        assert expected in text
    assert "--against-the-gate" not in text


def test_rejected_candidate_shows_override_option():
    page = compose(CANDIDATE, {**VERDICT, "outcome": "keep", "delta_mcc": None})
    assert page.headline == "Version 7 must not be promoted over version 6."
    assert page.tone == "bad"
    assert page.sections[-1].text[-1].endswith("--against-the-gate")


def test_digest_depends_on_verdict():
    assert digest(VERDICT) != digest({**VERDICT, "lower": 0.03})
