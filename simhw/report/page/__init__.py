"""Results, limits and sweeps, each as one web page that needs no other file.

It is for a browser with or without scripts, a screen reader, paper.

- `model`, `charts`: what a page shows, as plain data; `results`, `layers`, `values` make it of results, `limits` of the
  limits of machines, `sweep` of the points of a sweep; `origins` says where their figures come from.
- `svg`, `bars`, `scatter`, `waterfall`: charts as SVG.
- `write`: the page as HTML, of the templates beside it.

A new section is a field of `model.Page` or `model.MachinePart`, and a template that `page.html` includes.  A new page
is a class of `model`, and a template that extends `base.html`.

Names come from traces and machine files and are not trusted.  Jinja escapes whatever it puts into the page, and so does
`svg`.  The page's policy names its own script and style by their hashes, so that a browser runs nothing else.
"""
