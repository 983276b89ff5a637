from pathlib import Path

import pytest

from curation.errors import LabelingError
from curation.labeling.label_studio.api.settings import from_environment, token

VALID = {
    "LABEL_STUDIO_URL": "https://label.example/studio/",
    "LABEL_STUDIO_API_KEY": " s3cr3t\n",
}


def test_server_is_read_from_environment():
    more = {"LABEL_STUDIO_RATE_LIMIT": "2.5", "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": "/data"}
    server = from_environment({**VALID, **more})
    assert (server.url, server.token) == ("https://label.example/studio", "s3cr3t")
    assert (server.rate_limit, server.document_root) == (2.5, Path("/data"))


def test_token_is_not_in_repr():
    assert "s3cr3t" not in repr(from_environment(VALID))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"LABEL_STUDIO_URL": ""}, "LABEL_STUDIO_URL is not set"),
        (
            {"LABEL_STUDIO_API_KEY": ""},
            "variable LABEL_STUDIO_API_KEY, or .* Personal Access Token",
        ),
        ({"LABEL_STUDIO_URL": "label.example"}, "must begin with http"),
        ({"LABEL_STUDIO_URL": "https://"}, "must begin with http"),
        ({"LABEL_STUDIO_URL": "https://me:s3cr3t@label.example"}, "without a name, a password"),
        ({"LABEL_STUDIO_URL": "https://label.example?token=s3cr3t"}, "without a name, a password"),
        ({"LABEL_STUDIO_RATE_LIMIT": "0"}, "per second, got '0'"),
        ({"LABEL_STUDIO_RATE_LIMIT": "fast"}, "per second, got 'fast'"),
    ],
)
def test_invalid_variable_is_rejected(change, words):
    with pytest.raises(LabelingError, match=words) as caught:
        from_environment({**VALID, **change})
    assert "s3cr3t" not in str(caught.value)


def test_token_may_be_in_a_file(tmp_path):
    file = tmp_path / "label-studio-api-key"
    file.write_text("from a file\n")
    file.chmod(0o600)
    environment = {"LABEL_STUDIO_URL": "http://a", "CURATION_SECRETS_DIR": str(tmp_path)}
    assert from_environment(environment).token == "from a file"


def test_token_is_read_from_environment(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "abc")
    assert token() == "abc"
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    monkeypatch.delenv("CURATION_SECRETS_DIR", raising=False)
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    with pytest.raises(LabelingError, match=r"No store holds the secret .label-studio-api-key"):
        token()
