"""MLflow tracking: runs, registered ensembles, promotion and rollback.

An ensemble is a registered version. The alias `champion` names the version in service,
`challenger` the one judged last, `previous` the target of a rollback. Only this package imports
MLflow. Versions are always `str`.

    client           MLflow client with quiet logging and translated errors
    runs             active runs and their contents (run_contents, round_contents)
    dataset_source   FiftyOne views as MLflow data sources
    environment      interpreter, machine and packages
    wandb_mirror     copies of runs in Weights & Biases
    registry/        versions, checksums, aliases, promotion and rollback
"""

from curation.tracking.registry.versions import Alias, Registry, Version, champion_folder
from curation.tracking.run_contents import DataInput, RunContents

__all__ = ["Alias", "DataInput", "Registry", "RunContents", "Version", "champion_folder"]
