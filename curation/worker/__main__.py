"""Entry point of a worker process, which `curate worker` starts: `python -m curation.worker`.

FiftyOne is imported after the connection to the database is set.
"""

from __future__ import annotations

import argparse
import logging
import os

from curation.settings import from_environment
from curation.worker.constants import GRACE_S, LEASE_S


def main() -> None:
    """Execute queued operations until a signal arrives."""
    parser = argparse.ArgumentParser(prog="python -m curation.worker", description=__doc__)
    parser.add_argument("--gpu", type=int)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--lease", type=float, default=LEASE_S)
    parser.add_argument("--grace", type=float, default=GRACE_S)
    parser.add_argument("--parent", type=int, default=os.getppid())
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")

    from curation.storage.database import connection

    settings = from_environment()
    connection.connect(settings)

    import fiftyone.core.odm as foo

    from curation.worker.process import Process
    from curation.worker.queue import Queue

    queue = Queue(foo.get_db_conn(), lease_s=args.lease)
    process = Process(queue, settings.home, parent=args.parent, gpu=args.gpu, grace_s=args.grace)
    process.work(once=args.once)


if __name__ == "__main__":
    main()
