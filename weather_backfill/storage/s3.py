"""S3 options: allowed URLs, credentials, the server and the client's limits."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from weather_backfill.model.errors import ConfigurationError, refuse_user, shown

_NO_PROXY = "http://127.0.0.1:9"  # port 9, "discard": nothing listens there
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


@dataclass(frozen=True, slots=True)
class S3Options:
    """Options of an S3 connection; None: taken from the usual AWS variables, profile or instance role."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    confined: bool = False
    """True: a plain-HTTP server must not redirect to another one. Set for servers that a tenant names."""
    hurry: bool = False
    """True: fail fast on a slow or unreachable server."""
    checksums: bool = True
    """False: uploads carry no SHA-256 for the server to verify. For servers that refuse the header."""


def check_s3_url(url: str) -> None:
    """Raise `ConfigurationError` unless the URL is `s3://bucket/prefix`, in plain characters and without `..`."""
    parts = urlsplit(url)
    names = parts.path.strip("/").split("/")
    invalid = parts.query or parts.fragment or "\\" in url or not url.isprintable() or {".", ".."} & set(names)
    if invalid or not _BUCKET.fullmatch(parts.netloc) or ("" in names and len(names) > 1):
        raise ConfigurationError(
            f"{shown(url)!r} is not allowed: an S3 URL needs a bucket: expected s3://bucket/prefix."
        )


def location(url: str) -> tuple[str, tuple[str, ...]]:
    """Return the bucket of a storage URL ("" for a folder) and the parts of its path."""
    parts = urlsplit(url)
    if parts.scheme == "s3":
        return parts.netloc, tuple(part for part in unquote(parts.path).split("/") if part not in ("", "."))
    folder = Path(unquote(parts.path) if parts.scheme else url).expanduser().resolve()
    return "", folder.parts


def s3_arguments(bucket: str, options: S3Options) -> dict[str, Any]:
    """The arguments of a bucket's `S3Store`; raises `ConfigurationError` where there are no credentials."""
    import boto3
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        session = boto3.Session(
            aws_access_key_id=options.access_key_id,
            aws_secret_access_key=options.secret_access_key,
            aws_session_token=options.session_token,
            profile_name=options.profile,
            region_name=options.region,
        )
        credentials = session.get_credentials()
    except BotoCoreError as error:  # a profile that does not exist, half a key pair
        raise ConfigurationError(f"no AWS credentials for s3://{bucket}: {error}") from error
    if credentials is None:
        raise ConfigurationError(
            f"no AWS credentials for s3://{bucket}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, "
            "or run where an instance role applies."
        )
    env = os.environ
    endpoint = options.endpoint_url or env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    config: dict[str, Any] = {"region": session.region_name or "us-east-1"}
    if options.checksums:
        config["checksum_algorithm"] = "SHA256"
    if endpoint:
        refuse_user(endpoint, "the S3 endpoint")
        config |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    plain = bool(endpoint and endpoint.startswith("http://"))
    client: dict[str, Any] = {"allow_http": plain, "timeout": "10s" if options.hurry else "60s"}
    if plain and options.confined:
        # The store's client follows redirects. Over HTTPS alone they cannot reach a metadata endpoint; over plain
        # HTTP every request to another server goes through a proxy that does not exist.
        client |= {"proxy_url": _NO_PROXY, "proxy_excludes": urlsplit(str(endpoint)).hostname}
    return {
        "config": config,
        "client_options": client,
        "retry_config": {"max_retries": 0 if options.hurry else 4},
        "credential_provider": Boto3CredentialProvider(session),
    }
