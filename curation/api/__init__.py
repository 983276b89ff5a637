"""The functions of `import curation as cu`: a stage each, for notebooks and scripts.

    opening    a dataset, and the ensemble that works on it
    stages     ingest, predict, embed, score, choose
    labeling   what labeling will take; tasks out, labels in; labels that look wrong
    rounds     whole rounds, and a round as far as one stage
    registry   what is in service, and two versions side by side
    pictures   what a notebook shows

Each does what the verb of `curate` does, on any dataset or view that FiftyOne has loaded.
"""
