"""A result as one web page that needs no other file: for a browser with or without scripts, a screen reader, paper.

- `model`, `charts`: what the page shows, as plain data; `results`, `layers`, `values` make it of results.
- `svg`, `bars`, `scatter`: charts as SVG.
- `write`: the page as HTML, of the templates beside it.

A new section is a field of `model.Page` or `model.MachinePart`, and a template that `page.html` includes.

Names come from traces and machine files and are not trusted.  Jinja escapes whatever it puts into the page, and so does
`svg`.  The page's policy names its own script and style by their hashes, so that a browser runs nothing else.
"""
