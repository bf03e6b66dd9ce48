"""One file a model: ``build(input_shape, classes)`` returns its module, ``INPUT_DTYPE`` is what it
takes. Norms are group norms: running statistics would leak who trained, and do not average."""
