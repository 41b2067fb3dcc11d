"""Reports that stand alone: one HTML file, plots as inline SVG, nothing fetched.

shown.py    what a result shows of itself: text, and HTML for notebooks
plots.py    figures as SVG text
page.py     sections into one page
page.html   the page's template
"""
