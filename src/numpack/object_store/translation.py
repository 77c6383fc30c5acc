"""Errors of the libraries, as errors of this package."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import (
    MissingFileError,
    NumpackError,
    ObjectChangedError,
    RemoteError,
    StorePermissionError,
    UnsupportedError,
)
from .secrets import scrub

if TYPE_CHECKING:
    from collections.abc import Iterable


class RangeError(RemoteError):
    """An object ends before a range that was asked for."""


_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_BODY = re.compile(r"\s*<[?\w].*", re.DOTALL)  # which may echo what was sent
_DENIED = re.compile(
    "ExpiredToken|InvalidToken|TokenRefreshRequired|InvalidAccessKeyId|SignatureDoesNotMatch"
    "|RequestTimeTooSkewed|AccessDenied|AuthorizationFailure|AuthenticationFailed"
    r"|\b40[13] (Unauthorized|Forbidden)|os error 13\)"
)
_NO_CREDENTIALS = re.compile(
    "latest/api/token|latest/meta-data|metadata/identity|metadata.google.internal"
    "|NoCredentials|Unable to locate credentials"
)
_NO_RANGES = re.compile("non-partial|[Rr]ange request not supported")
_BEYOND = re.compile(
    r"\b416 R|Wanted range|Range started|StartTooLarge|range was invalid|InvalidRange|"
    "not satisfiable"
)
_CHANGED = ("AlreadyExistsError", "PreconditionError", "NotModifiedError")
_REFUSED = ("PermissionDeniedError", "UnauthenticatedError", "NoCredentialsError")


def translate(
    error: BaseException, doing: str, where: str, secrets: Iterable[str]
) -> NumpackError | None:
    """Return the error to raise instead, or None for one that is not of a library.

    Parameters
    ----------
    error : exception
    doing : str
        What failed: "read", "write", "list", "remove".
    where : str
        The location of the object.
    secrets : iterable of str
        Not shown.
    """
    kind = type(error).__name__
    if kind == "PanicException":
        return _failed(doing, where, "its library panicked", "")
    if isinstance(error, NumpackError) or not isinstance(error, Exception):
        return None
    text = str(error)
    summary = _summary(scrub(text, secrets))
    if isinstance(error, FileNotFoundError):
        why = " (nor does the bucket)" if "NoSuchBucket" in text else ""
        return MissingFileError(f"{where} does not exist{why}", file=where)
    if kind in _CHANGED:
        return ObjectChangedError(f"{where} is not the version that was expected: {summary}")
    if isinstance(error, PermissionError) or kind in _REFUSED or _DENIED.search(text):
        return _denied(doing, where, summary)
    if _NO_CREDENTIALS.search(text):
        return _denied(doing, where, "no credentials were found")
    return _unsupported(error, doing, where, text, summary)


def _unsupported(
    error: Exception, doing: str, where: str, text: str, summary: str
) -> NumpackError:
    if _NO_RANGES.search(text):
        return RemoteError(
            f"cannot {doing} {where}: the server sends whole objects where ranges of bytes are "
            "asked for; use a server that supports range requests, or download the store"
        )
    if isinstance(error, NotImplementedError) or type(error).__name__ == "NotSupportedError":
        return UnsupportedError(f"cannot {doing} {where}: {summary}", reason=summary)
    if _BEYOND.search(text):
        return RangeError(
            f"cannot {doing} {where}: it ends before the range that was asked for"
        )
    return _failed(doing, where, summary, "; check the URL, the endpoint and the network")


def _failed(doing: str, where: str, summary: str, fix: str) -> RemoteError:
    return RemoteError(f"cannot {doing} {where}: {summary}{fix}")


def _denied(doing: str, where: str, summary: str) -> StorePermissionError:
    return StorePermissionError(
        f"cannot {doing} {where}: {summary}; pass credentials that allow it in storage_options "
        "or in the environment, or skip_signature=True for a public bucket"
    )


def _summary(text: str) -> str:
    """Return the first line of a message, without what the server's answer repeats."""
    line = text.partition("\n\nDebug source")[0]
    code = _CODE.search(line)
    line = _BODY.sub("", " ".join(line.split()))
    line = line.rstrip(": ")[:400]
    return f"{line} ({code[1]})" if code else line
