"""One file a data set: ``load(folder)`` returns it; the docstring cites source and licence."""
