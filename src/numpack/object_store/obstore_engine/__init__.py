"""Object stores that obstore reaches: S3, Google Cloud, Azure, HTTP, folders and memory."""

from .opening import open_store, open_url

__all__ = ["open_store", "open_url"]
