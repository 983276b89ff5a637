"""MLflow, on a local file or on any server: runs, registered ensembles, promotion, rollback.

An ensemble is one registered version; the alias `champion` says which one is in service,
`challenger` which one was judged last, `previous` what a rollback returns to. Only this
package and `ensemble_model.py` know MLflow; versions are always `str`.

    connection   the client, its noise and its errors
    about        what a run keeps                        lineage      FiftyOne views as data
    runs         runs under way, and their content       environment  where they took place
    versions     registered ensembles, hashes, aliases
    moves        what a promotion or a rollback changes, pure
    journal      the write-ahead record of moves, in the database
    promotion    moves, one at a time, finished after a crash
    mirror       the same runs in Weights & Biases
"""

from curation.tracking.registry.versions import Alias, Registry, Version, champion_folder
from curation.tracking.run_contents import About, DataInput

__all__ = ["About", "Alias", "DataInput", "Registry", "Version", "champion_folder"]
