"""What the operators in `plugins/` share. An operator itself is a form and one call to a stage.

    door       the operator that ours inherit: form, run, result
    forms      building a form whose inputs say what is wrong with them
    choices    what a dataset offers to choose from
    estimates  what a run will take
    running    at once or queued, with progress; the result shown
    progress   how far a run is, told now and then; whether it is still wanted
    undo       which fields a stage wrote, and taking them back

FiftyOne runs a plugin's `__init__.py` anew for every request, so whatever is worth keeping
lives here, in the installed package.
"""
