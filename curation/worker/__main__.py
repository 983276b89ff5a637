"""One warm process of a worker, as `curate worker` starts it: `python -m curation.worker`.

FiftyOne is imported here, in the database that the environment names.
"""

from __future__ import annotations

import argparse
import logging
import os

from curation.settings import from_environment
from curation.worker.constants import GRACE_S, LEASE_S


def main() -> None:
    """Work until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m curation.worker", description=__doc__)
    parser.add_argument("--gpu", type=int)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--lease", type=float, default=LEASE_S)
    parser.add_argument("--grace", type=float, default=GRACE_S)
    parser.add_argument("--parent", type=int, default=os.getppid())
    asked = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")

    from curation.storage.database import connection

    settings = from_environment()
    connection.connect(settings)

    import fiftyone.core.odm as foo

    from curation.worker.process import Process
    from curation.worker.queue import Queue

    queue = Queue(foo.get_db_conn(), lease_s=asked.lease)
    process = Process(queue, settings.home, parent=asked.parent, gpu=asked.gpu, grace_s=asked.grace)
    process.work(once=asked.once)


if __name__ == "__main__":
    main()
