"""What a dataset holds, in figures that the database counts; panels and reports show them.

kept       figures kept with the dataset, with their age, where counting takes seconds
counts     members, tiers, agreement, failures, components of hardness
plane      the embedding on a plane, in cells
outcomes   which member missed what, against ground truth
"""
