"""Panels of the App as plain pages; the classes that FiftyOne registers are in `plugins/`.

base             base class of the panels
components       components of a page
renderer         pages as FiftyOne's types; the only module that knows how panels are drawn
plotly_figures   traces and layouts for Plotly
side_by_side     picture of one image with the boxes of each member
pages            one module per panel
"""
