"""What the App's panels show, as plain pages; `plugins/` hold the doors.

page      the pieces that a page is made of
drawing   a page as FiftyOne's types; the only file here that knows how panels are drawn
plots     traces for plotly
words     ages, shares and numbers as people read them

cascade hardness rounds failures registry drift runs sample      one page each
"""
