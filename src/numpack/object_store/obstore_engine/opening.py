"""Opening URLs and stores of obstore."""

from __future__ import annotations

import base64
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ...errors import InvalidValueError, MissingDependencyError, UnsupportedError
from ..secrets import (
    CLIENT,
    has_secret,
    safe_configuration,
    scrub,
    secrets_of,
    user_of,
)
from ..urls import local_path, normalized, scheme_of
from .engine import ObstoreEngine
from .folder import FolderEngine

if TYPE_CHECKING:
    from collections.abc import Mapping

# A server that cannot be reached is given up after about half a minute. The whole request may
# take long, as the connection may be slow; that no byte arrives may not.
_CLIENT = {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "5min"}
_RETRY = {"max_retries": 8, "retry_timeout": timedelta(seconds=20)}

_memory: list[Any] = []


def _stores() -> Any:
    """Import obstore's stores."""
    try:
        from obstore import store  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError(
            f"object stores need obstore, which cannot be imported ({error}); install it with: "
            'pip install "numpack[remote]"'
        ) from None
    return store


def open_url(url: str, options: Mapping[str, Any]) -> ObstoreEngine:
    """Open a URL whose scheme obstore knows."""
    stores = _stores()
    scheme, location = scheme_of(url), normalized(url)
    if scheme == "file":
        return FolderEngine(stores, local_path(url), location)
    if scheme == "memory":
        _memory.extend([] if _memory else [stores.MemoryStore()])
        return ObstoreEngine(_memory[0], location, prefix=location.partition("://")[2])
    secrets = secrets_of(url, options)
    arguments = _arguments(url, options)
    make = stores.HTTPStore.from_url if scheme.startswith("http") else stores.from_url

    def build(**retry: Any) -> Any:
        changed = {**arguments, "retry_config": {**arguments["retry_config"], **retry}}
        return _build(make, _without_user(url), changed, location, secrets)

    return ObstoreEngine(
        build(),
        location,
        secrets=secrets,
        once=lambda: build(max_retries=0),
        pickled=_to_pickle(url, options),
    )


def _build(
    make: Any, url: str, arguments: dict[str, Any], location: str, secrets: list[str]
) -> Any:
    """Call a constructor of obstore; it panics on some options that it does not know."""
    try:
        return make(url, **arguments)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        first = str(error).partition("\n\nDebug source")[0]
        summary = scrub(first, secrets)
    raise InvalidValueError(
        f"cannot open {location}: {summary}; storage_options are the configuration of the "
        "store as obstore takes it, client_options, retry_config and credential_provider"
    )


def _arguments(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for obstore: its client's options may be among the others."""
    arguments = {name: value for name, value in options.items() if name not in CLIENT}
    client = {name: value for name, value in options.items() if name in CLIENT}
    client = {**_CLIENT, **client, **(options.get("client_options") or {})}
    # Options of the client make obstore forget AWS_ALLOW_HTTP, as which an endpoint counts too.
    endpoints = [*_endpoints(options), os.environ.get("AWS_ENDPOINT_URL", "")]
    if any(each.lower().startswith("http://") for each in (url, *endpoints)):
        client.setdefault("allow_http", True)
    user = user_of(url) if scheme_of(url).startswith("http") else ""
    if user:
        token = base64.b64encode(unquote(user).encode()).decode()
        headers = client.get("default_headers") or {}
        client["default_headers"] = {"Authorization": f"Basic {token}", **headers}
    arguments["client_options"] = client
    arguments["retry_config"] = {**_RETRY, **(options.get("retry_config") or {})}
    return arguments


def _endpoints(options: Mapping[str, Any]) -> list[str]:
    given = {**options, **(options.get("config") or {})}
    return [str(value) for name, value in given.items() if "endpoint" in name.lower()]


def _to_pickle(url: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return a URL and options without secrets, unless a URL among them has one."""
    if any(map(has_secret, (url, *_endpoints(options)))):
        return None
    return url, safe_configuration(options)


def _without_user(url: str) -> str:
    user = user_of(url)
    return url.replace(f"{user}@", "", 1) if user else url


def open_store(store: Any, options: Mapping[str, Any]) -> ObstoreEngine:
    """Open a store of obstore that the caller has configured."""
    if options:
        raise UnsupportedError(
            f"storage_options with a {type(store).__name__}; pass them to the store itself",
            reason="it is configured already",
        )
    kind = next(
        base.__name__ for base in type(store).__mro__ if base.__module__.startswith("obstore")
    )
    if kind == "LocalStore":
        folder = Path(str(store.prefix or "/"))
        return FolderEngine(_stores(), folder, folder.as_uri())
    configured = _configuration(store)
    url = _url_of(store, kind, configured.get("config", {}))
    return ObstoreEngine(
        store,
        normalized(url),
        secrets=secrets_of(url, configured),
        once=lambda: _without_retries(store, kind, configured),
        pickled=None if kind == "MemoryStore" else _to_pickle(url, configured),
    )


def _without_retries(store: Any, kind: str, configured: Mapping[str, Any]) -> Any:
    """Return a store like another one that sends each request once, if it can be made."""
    provider = getattr(store, "credential_provider", None)
    if "config" not in configured:
        return store
    return getattr(_stores(), kind)(
        prefix=store.prefix,
        config=configured["config"],
        client_options=configured.get("client_options"),
        retry_config={"max_retries": 0},
        **({} if provider is None else {"credential_provider": provider}),
    )


def _configuration(store: Any) -> dict[str, Any]:
    """Return how a store is configured, as the options that configure one."""
    found = {}
    for name in ("config", "client_options", "retry_config"):
        try:
            value = getattr(store, name, None)
        except BaseException as error:  # it panics on client options among the others
            if type(error).__name__ != "PanicException":
                raise
            continue
        if value:
            found[name] = dict(value)
    return found


def _url_of(store: Any, kind: str, config: Mapping[str, Any]) -> str:
    if kind == "HTTPStore":
        return str(store.url)
    if kind == "MemoryStore":
        return f"memory://store-{id(store):x}"
    scheme = {"S3Store": "s3", "GCSStore": "gs", "AzureStore": "az"}[kind]
    bucket = config.get("bucket") or config.get("container_name") or ""
    return f"{scheme}://{bucket}/{store.prefix or ''}"
