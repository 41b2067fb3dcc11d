"""Reports that stand alone: one HTML file, plots as inline SVG, nothing fetched.

plots.py    figures as SVG text
page.py     sections into one page
page.html   the page's template
"""
