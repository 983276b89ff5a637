"""How a dataset looks in the App: colours by member, saved views.

colours   one colour for each member; the classes as in Label Studio
views     the views that people open first
arrange   all of it, after a stage that wrote something
"""
