"""Public functions of `import curation as cu`, for notebooks and scripts.

    datasets   open a dataset, and the ensemble that works on it
    stages     ingest, adopt, predict, embed, score, choose, distill
    labeling   preview the cost, push tasks, pull labels, review suspicious labels
    rounds     complete rounds, and rounds up to one stage
    registry   versions, promotion, rollback, comparison
    plots      plots for notebooks

Each function does the same as the `curate` command of its name, on any FiftyOne dataset or view.
"""
