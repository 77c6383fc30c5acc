"""What must not be shown or stored: credentials in options, URLs and messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Everything else stays in the process.
_CONFIGURATION = _names(
    """
    account_name base_url bucket bucket_name checksum_algorithm conditional_put
    container_name default_region disable_bulk_delete disable_tagging endpoint endpoint_url
    endpoint_url_s3 imdsv1_fallback region request_payer s3_express skip_signature
    storage_account_name unsigned_payload use_azure_cli use_emulator use_fabric_endpoint
    virtual_hosted_style_request
    """
)
CLIENT = _names(
    """
    allow_http allow_invalid_certificates connect_timeout default_content_type http1_only
    http2_keep_alive_interval http2_keep_alive_timeout http2_keep_alive_while_idle
    http2_only pool_idle_timeout pool_max_idle_per_host proxy_ca_certificate proxy_excludes
    randomize_addresses read_timeout root_certificate timeout user_agent
    """
)
_FILESYSTEM = _names(
    """
    anon auto_mkdir cache_regions default_block_size default_cache_type endpoint_url host
    max_concurrency port project protocol region_name requester_pays skip_instance_cache
    use_ssl version_aware
    """
)
_PREFIX = re.compile(r"^(aws|azure|google)_")
_USER = re.compile(r"(?<!abfs)(?<!abfss)(://)[^/\s@]*@")
_QUERY = re.compile(r"(\w://[^\s?#\"'<>]*)[?#][^\s\"'<>)]*")


def safe_configuration(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a store of obstore that may be pickled."""
    safe = {name: value for name, value in options.items() if _is_safe(name, value)}
    if "client_options" in options:
        client = options["client_options"] or {}
        safe["client_options"] = {key: client[key] for key in client if key in CLIENT}
    if options.get("retry_config"):
        safe["retry_config"] = options["retry_config"]
    if options.get("config"):
        safe["config"] = safe_configuration(options["config"])
    return safe


def safe_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a filesystem of fsspec that may be pickled."""
    safe: dict[str, Any] = {
        name: value
        for name, value in options.items()
        if name in _FILESYSTEM and isinstance(value, str | int | float | bool | None)
    }
    client = options.get("client_kwargs")
    if isinstance(client, dict) and not has_secret(str(client.get("endpoint_url", "?"))):
        safe["client_kwargs"] = {
            name: client[name] for name in ("endpoint_url", "region_name") if name in client
        }
    return safe


def _is_safe(name: str, value: Any) -> bool:
    known = name in CLIENT or _PREFIX.sub("", str(name).lower()) in _CONFIGURATION
    return known and not (isinstance(value, str) and has_secret(value))


def has_secret(url: str) -> bool:
    """Return whether a URL has user information or a query, as presigned ones do."""
    return "?" in url or "#" in url or bool(user_of(url))


def user_of(url: str) -> str:
    """Return the user information of a URL; in those of Azure it is the container.

    A password may have a slash, though it should be quoted: what then looks like the port is
    no number.
    """
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0]
    port = authority.rpartition("@")[2].partition(":")[2]
    cut = port != "" and not port.isdecimal() and "]" not in port
    user = (rest.partition("?")[0] if cut else authority).rpartition("@")[0]
    return "" if scheme in ("abfs", "abfss") and ":" not in user else user


def secrets_of(url: str, options: Mapping[str, Any]) -> list[str]:
    """Return the strings that no message may show, longest first."""
    found = set(_texts(options, frozenset(safe_configuration(options))))
    parts = urlsplit(url)
    user = user_of(url)
    found |= {user, unquote(user), user.partition(":")[2], parts.query, parts.fragment}
    return sorted((each for each in found if len(each) >= 4), key=len, reverse=True)


def _texts(options: Mapping[str, Any], safe: frozenset[str] = frozenset()) -> Iterable[str]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _texts(value, CLIENT | frozenset(safe_configuration(value)))
        elif isinstance(value, bytes):
            yield value.decode("latin-1")
        elif isinstance(value, str) and name not in safe:
            yield value


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return a message without secrets, and without user information and queries of URLs."""
    for secret in secrets:
        text = text.replace(secret, "…")
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text))
