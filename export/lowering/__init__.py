"""From captured graphs to one program file, in named steps whose time is linear in the nodes.

``edge`` (one graph, in the runtime's dialect) -> ``partition`` (what the delegate takes, and why it
leaves the rest) -> ``chunks`` (where the graph is cut) -> ``split`` (delegates and the graph around
them). ``delegate`` encodes one chunk. ``private`` holds every use of an interface that the library
of the runtime does not promise to keep, such as writing all programs to one file. ``runtime`` runs
the file, and ``bisect`` finds the operators that a wrong one is wrong at.
"""
