"""A bucket of a server: what the tests need to know to use it, by any client."""

from __future__ import annotations

import dataclasses
from typing import Any

KEY, SECRET = "AKIDOFTHETESTS000000", "secret/of+the/tests/0123456789"
REGION = "us-east-1"


@dataclasses.dataclass(frozen=True)
class Bucket:
    """A bucket, and where its server listens, which may be a proxy's address."""

    endpoint: str
    name: str = "bucket"
    key: str = KEY
    secret: str = SECRET

    def at(self, endpoint: str) -> Bucket:
        """Return the same bucket behind another address."""
        return dataclasses.replace(self, endpoint=endpoint)

    def url(self, path: str = "") -> str:
        """Return the URL of a key."""
        return f"s3://{self.name}/{path}"

    @property
    def options(self) -> dict[str, Any]:
        """Return the options that obstore takes."""
        return {
            **self.open_options,
            "access_key_id": self.key,
            "secret_access_key": self.secret,
        }

    @property
    def open_options(self) -> dict[str, Any]:
        """Return the options that obstore takes, without credentials."""
        client = {"allow_http": True}
        return {"endpoint": self.endpoint, "region": REGION, "client_options": client}

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment variables from which clients take the credentials."""
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}

    def client(self) -> Any:
        """Return a client of boto3, which never repeats a request."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name=REGION,
            config=Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=20),
        )
