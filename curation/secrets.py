"""Secrets by name: read from the environment, from a file, or from HashiCorp Vault or OpenBao.

Stores are searched in this order, here for the secret `label-studio-token`:

| store       | location                                                                       |
|-------------|--------------------------------------------------------------------------------|
| environment | the variable `LABEL_STUDIO_TOKEN`                                              |
| file        | `$CURATION_SECRETS_DIR/label-studio-token`, readable by its owner only         |
| vault       | `VAULT_ADDR`, KV version 2: mount `secret`, path `curation/label-studio-token`, |
|             | key `value`; by `VAULT_TOKEN`, or by `VAULT_ROLE_ID` and `VAULT_SECRET_ID`      |

`CURATION_VAULT_MOUNT` and `CURATION_VAULT_PATH` override mount and path. Only `Secret.reveal()`
returns the value: printing, formatting, logging and copying do not show it, and error messages
never contain it.
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

_LOGIN = re.compile(r"(?<=://)[^/\s]\S*@")  # greedy: a password may contain @
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_NOT_OWNER = stat.S_IRWXG | stat.S_IRWXO
_TIMEOUT_S = 10
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Secret:
    """A value that is never printed, formatted, logged or pickled.

    Args:
        name: Name of the secret.
        value: The secret value.
        store: Description of the store that held it.
    """

    __slots__ = ("_reveal", "name", "store")

    name: str
    store: str
    _reveal: Callable[[], str]

    def __init__(self, name: str, value: str, store: str) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "store", store)
        # In a closure: code that prints an object's attributes then prints a function.
        object.__setattr__(self, "_reveal", lambda: value)

    def reveal(self) -> str:
        """Return the value. Pass it on directly instead of storing it in a variable."""
        return self._reveal()

    def __repr__(self) -> str:
        return f"<secret {self.name!r} from {self.store}>"

    __str__ = __repr__

    def __format__(self, specification: str) -> str:
        return repr(self)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Cannot set {name!r}: a secret is immutable.")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"Cannot pickle {self!r}. Pass its name, and read it in the other process.")


def read(name: str, environment: Mapping[str, str] | None = None) -> Secret:
    """Return a secret from the first store that holds it.

    Args:
        name: Lower case with hyphens, such as `label-studio-token`.
        environment: Environment variables; None for those of this process.

    Raises:
        SettingsError: No store holds it, or a store is insecure or unreachable. The message
            says where to put it.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(
            "A secret's name must be lower case with hyphens, like label-studio-token; "
            f"got {name!r}."
        )
    variables = os.environ if environment is None else environment
    for store in (_from_environment, _from_file, _from_vault):
        secret = store(name, variables)
        if secret is not None:
            return secret
    raise SettingsError(_not_found_message(name, variables))


def variable(name: str) -> str:
    """Return the environment variable that holds a secret: `LABEL_STUDIO_TOKEN`."""
    return name.upper().replace("-", "_")


def _from_environment(name: str, variables: Mapping[str, str]) -> Secret | None:
    value = variables.get(variable(name), "").strip()
    return Secret(name, value, f"the environment variable {variable(name)}") if value else None


def _from_file(name: str, variables: Mapping[str, str]) -> Secret | None:
    folder = variables.get("CURATION_SECRETS_DIR")
    if not folder:
        return None
    path = Path(folder).expanduser() / name
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode  # of the open file: the path may be replaced
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"Cannot read {path}: {error.strerror}.") from None
    if mode & _NOT_OWNER:
        raise SettingsError(
            f"{path} is readable by users other than its owner (mode {stat.S_IMODE(mode):o}). "
            f"Run `chmod 600 {path}`, and change the secret if another user may have read it."
        )
    try:
        value = content.decode().strip()
    except UnicodeDecodeError:
        # NOTE: `from None`, here and below: the cause would contain the bytes.
        raise SettingsError(f"{path} is not UTF-8 text.") from None
    if not value:
        raise SettingsError(f"{path} is empty. Write the secret into it, or remove the file.")
    return Secret(name, value, f"the file {path}")


def _from_vault(name: str, variables: Mapping[str, str]) -> Secret | None:
    address = variables.get("VAULT_ADDR")
    if not address:
        return None
    _check_vault_address(address)
    mount = variables.get("CURATION_VAULT_MOUNT") or "secret"
    path = f"{(variables.get('CURATION_VAULT_PATH') or 'curation').strip('/')}/{name}"
    try:
        import hvac
        from requests import RequestException
    except ImportError:
        raise SettingsError(
            "VAULT_ADDR is set, but the package hvac, which reads vaults, is not installed. "
            'Install it with `pip install "cascade-curation[hvac]"`, or unset VAULT_ADDR.'
        ) from None
    error_name = ""
    try:
        client = _client(hvac, address, variables)
        response = client.secrets.kv.v2.read_secret_version(
            path=path, mount_point=mount, raise_on_deleted_version=True
        )
    except hvac.exceptions.InvalidPath:
        return None
    except (hvac.exceptions.VaultError, RequestException) as error:
        error_name = type(error).__name__  # its text may contain the request
    if error_name:
        raise SettingsError(
            f"Cannot read {mount}/{path} from the vault at {address} ({error_name}). Check "
            "VAULT_ADDR, VAULT_TOKEN (or VAULT_ROLE_ID and VAULT_SECRET_ID) and the policy."
        )
    value = response["data"]["data"].get("value")
    if not isinstance(value, str) or not value:
        raise SettingsError(
            f"{mount}/{path} in the vault at {address} has no text under the key `value`. "
            f"Write it with `vault kv put {mount}/{path} value=-`."
        )
    return Secret(name, value, f"the vault at {address}, {mount}/{path}")


def _client(hvac: Any, address: str, variables: Mapping[str, str]) -> Any:
    """Return a client that is logged in. Certificates are always verified."""
    client = hvac.Client(
        url=address,
        token=variables.get("VAULT_TOKEN") or "",
        namespace=variables.get("VAULT_NAMESPACE") or None,
        verify=variables.get("VAULT_CACERT") or True,
        timeout=_TIMEOUT_S,
    )
    role = variables.get("VAULT_ROLE_ID")
    if role and not variables.get("VAULT_TOKEN"):
        client.auth.approle.login(role_id=role, secret_id=variables.get("VAULT_SECRET_ID"))
    return client


def _check_vault_address(address: str) -> None:
    """Refuse an unencrypted remote address, and one that contains a login."""
    parts = urlsplit(address)
    if parts.username or parts.password:
        raise SettingsError(
            "VAULT_ADDR must not contain a name or password. Use VAULT_TOKEN, or VAULT_ROLE_ID and "
            "VAULT_SECRET_ID."
        )
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    raise SettingsError(
        f"VAULT_ADDR must begin with https:// (http:// on this machine only), got {address!r}."
    )


def _not_found_message(name: str, variables: Mapping[str, str]) -> str:
    folder = variables.get("CURATION_SECRETS_DIR")
    file = f"{folder}/{name}" if folder else f"a file {name} in the folder CURATION_SECRETS_DIR"
    mount = variables.get("CURATION_VAULT_MOUNT") or "secret"
    path = f"{mount}/{variables.get('CURATION_VAULT_PATH') or 'curation'}/{name}"
    vault = f"{path} (key `value`) in the vault at {variables.get('VAULT_ADDR') or 'VAULT_ADDR'}"
    return (
        f"No store holds the secret {name!r}. Put it into the environment variable "
        f"{variable(name)}, or into {file} (mode 600), or into {vault}."
    )


def without_password(text: str) -> str:
    """Return the text without the logins (`user:password@`) of its addresses."""
    return _LOGIN.sub("", text)
