"""Publish a store and print what came of it: ``python -m support.store.publishing STORE URL``.

The variable OPTIONS has the options of the object store, as JSON.
"""

from __future__ import annotations

import json
import os
import sys

from numpack import NumPack
from numpack.errors import ConflictError


def main() -> None:
    with NumPack(sys.argv[1], mode="r") as store:
        print("ready", flush=True)  # noqa: T201
        sys.stdin.readline()
        try:
            report = store.publish(
                sys.argv[2], storage_options=json.loads(os.environ["OPTIONS"])
            )
            print("won" if report.objects_sent else "same")  # noqa: T201
        except ConflictError:
            print("lost")  # noqa: T201


if __name__ == "__main__":
    main()
