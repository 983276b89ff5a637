"""Shared code of the operators in `plugins/`. An operator itself is a form and a call to a stage.

base            base class: form, run, result
forms           form builder that shows an error at each wrong input
options         values that a dataset offers to choose from
estimates       time and memory of a run
execution       immediate and queued execution
outputs         output forms
progress        throttled progress reports, and cancellation
label_forms     inputs for the labels of a dataset
round_forms     inputs of operators that continue a round
version_forms   inputs for registered versions
job_forms       inputs and tables of scheduled jobs
undo            removal of the fields of a stage

FiftyOne executes a plugin's `__init__.py` for every request; code and state that should stay
loaded are in this package.
"""
