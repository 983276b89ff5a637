"""Secrets by name: read from the environment, from a file, or from HashiCorp Vault or OpenBao.

The first store that holds a secret answers. For one called `label-studio-token`:

| store       | where it looks                                                                 |
|-------------|--------------------------------------------------------------------------------|
| environment | the variable `LABEL_STUDIO_TOKEN`                                              |
| file        | `$CURATION_SECRETS_DIR/label-studio-token`, which only its owner may read      |
| vault       | `VAULT_ADDR`, KV version 2: mount `secret`, path `curation/label-studio-token`, |
|             | key `value`; by `VAULT_TOKEN`, or by `VAULT_ROLE_ID` and `VAULT_SECRET_ID`      |

`CURATION_VAULT_MOUNT` and `CURATION_VAULT_PATH` name another place in the vault. A value leaves
its `Secret` by `reveal()` alone: nothing that prints, formats, logs or copies one shows it, and
no error of ours holds one.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

from curation.errors import SettingsError

_LOGIN = re.compile(r"(?<=://)[^/\s]\S*@")  # greedy: a password may hold an @ of its own
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_TIMEOUT_S = 10
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Secret:
    """A value that nothing shows.

    Args:
        name: What it is called.
        value: What must not be seen.
        store: Which store answered, and where in it.
    """

    __slots__ = ("_reveal", "name", "store")

    name: str
    store: str
    _reveal: Callable[[], str]

    def __init__(self, name: str, value: str, store: str) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "store", store)
        # In a closure: those who print an object's attributes print a function.
        object.__setattr__(self, "_reveal", lambda: value)

    def reveal(self) -> str:
        """Return the value, for the call that needs it; keep it in no variable that lasts."""
        return self._reveal()

    def __repr__(self) -> str:
        return f"<secret {self.name!r} from {self.store}>"

    __str__ = __repr__

    def __format__(self, specification: str) -> str:
        return repr(self)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"A secret does not change: {name!r} cannot be set.")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be written anywhere. Pass its name, and read it there.")


def read(name: str, environment: Mapping[str, str] | None = None) -> Secret:
    """Return a secret from the first store that has it.

    Args:
        name: Lower case with hyphens, such as `label-studio-token`.
        environment: Where variables are looked up; None for this process's own.

    Raises:
        SettingsError: No store has it, or the one that should is not to be trusted or reached.
            The message says where to put it.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"A secret is called in lower case with hyphens, like label-studio-token; got {name!r}."
        )
    given = os.environ if environment is None else environment
    found = _from_environment(name, given) or _from_file(name, given) or _from_vault(name, given)
    if found is None:
        raise SettingsError(_advice(name, given))
    return found


def variable(name: str) -> str:
    """Return the environment variable that holds a secret: `LABEL_STUDIO_TOKEN`."""
    return name.upper().replace("-", "_")


def _from_environment(name: str, given: Mapping[str, str]) -> Secret | None:
    value = given.get(variable(name), "").strip()
    return Secret(name, value, f"the environment variable {variable(name)}") if value else None


def _from_file(name: str, given: Mapping[str, str]) -> Secret | None:
    folder = given.get("CURATION_SECRETS_DIR")
    if not folder:
        return None
    path = Path(folder).expanduser() / name
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode  # of what is read, whatever the path became
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    if mode & _OTHERS:
        raise SettingsError(
            f"{path} is open to others than its owner (mode {stat.S_IMODE(mode):o}). "
            f"Close it with `chmod 600 {path}`, and change the secret if others may have read it."
        )
    try:
        value = content.decode().strip()
    except UnicodeDecodeError:
        # NOTE: `from None`, here and below: the cause would carry the bytes along.
        raise SettingsError(f"{path} is not UTF-8 text.") from None
    if not value:
        raise SettingsError(f"{path} is empty. Write the secret into it, or remove the file.")
    return Secret(name, value, f"the file {path}")


def _from_vault(name: str, given: Mapping[str, str]) -> Secret | None:
    address = given.get("VAULT_ADDR")
    if not address:
        return None
    _expect_private(address)
    mount = given.get("CURATION_VAULT_MOUNT") or "secret"
    path = f"{(given.get('CURATION_VAULT_PATH') or 'curation').strip('/')}/{name}"
    try:
        import hvac
        from requests import RequestException
    except ImportError:
        raise SettingsError(
            "VAULT_ADDR is set, and the package hvac that reads vaults is not installed. "
            'Install it with `pip install "cascade-curation[hvac]"`, or unset VAULT_ADDR.'
        ) from None
    problem = ""
    try:
        client = _client(hvac, address, given)
        answer = client.secrets.kv.v2.read_secret_version(
            path=path, mount_point=mount, raise_on_deleted_version=True
        )
    except hvac.exceptions.InvalidPath:
        return None
    except (hvac.exceptions.VaultError, RequestException) as error:
        problem = type(error).__name__  # its text may hold what was sent
    if problem:
        raise SettingsError(
            f"The vault at {address} did not give {mount}/{path} ({problem}). Look at VAULT_ADDR, "
            "at VAULT_TOKEN (or VAULT_ROLE_ID and VAULT_SECRET_ID), and at the policy behind it."
        )
    value = answer["data"]["data"].get("value")
    if not isinstance(value, str) or not value:
        raise SettingsError(
            f"{mount}/{path} in the vault at {address} has no text under the key `value`. "
            f"Write it with `vault kv put {mount}/{path} value=-`."
        )
    return Secret(name, value, f"the vault at {address}, {mount}/{path}")


def _client(hvac: Any, address: str, given: Mapping[str, str]) -> Any:
    """Return a client that has logged in; certificates are always checked."""
    client = hvac.Client(
        url=address,
        token=given.get("VAULT_TOKEN") or "",
        namespace=given.get("VAULT_NAMESPACE") or None,
        verify=given.get("VAULT_CACERT") or True,
        timeout=_TIMEOUT_S,
    )
    role = given.get("VAULT_ROLE_ID")
    if role and not given.get("VAULT_TOKEN"):
        client.auth.approle.login(role_id=role, secret_id=given.get("VAULT_SECRET_ID"))
    return client


def _expect_private(address: str) -> None:
    """Refuse an address over which secrets would travel for everyone to read, or that holds one."""
    parts = urlsplit(address)
    if parts.username or parts.password:
        raise SettingsError(
            "VAULT_ADDR must not hold a name or password. Use VAULT_TOKEN, or VAULT_ROLE_ID and "
            "VAULT_SECRET_ID."
        )
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    raise SettingsError(
        f"VAULT_ADDR must begin with https:// (http:// on this machine only), got {address!r}."
    )


def _advice(name: str, given: Mapping[str, str]) -> str:
    folder = given.get("CURATION_SECRETS_DIR")
    file = f"{folder}/{name}" if folder else f"a file {name} in the folder CURATION_SECRETS_DIR"
    mount = given.get("CURATION_VAULT_MOUNT") or "secret"
    path = f"{mount}/{given.get('CURATION_VAULT_PATH') or 'curation'}/{name}"
    vault = f"{path} (key `value`) in the vault at {given.get('VAULT_ADDR') or 'VAULT_ADDR'}"
    return (
        f"The secret {name!r} is nowhere. Put it into the environment variable {variable(name)}, "
        f"or into {file} (mode 600), or into {vault}."
    )


def without_password(text: str) -> str:
    """Return a text in which addresses have lost who logs in, and with what password."""
    return _LOGIN.sub("", text)
