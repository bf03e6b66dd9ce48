"""Turn a model into a bundle that a phone can train: ``python -m export``.

Five steps, each a function that takes and returns a value and can be called alone:
:func:`export.prepare.prepare`, :func:`export.capture.capture`, :func:`export.lower.lower`,
:func:`export.check.check`, :func:`export.pack.pack`. ``export/steps.py`` calls them in this order.
"""
