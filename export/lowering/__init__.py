"""From captured graphs to one program file, in named steps whose time is linear in the nodes.

``edge`` (one graph, in the runtime's dialect) -> ``partition`` (what the delegate takes, and why not)
-> ``chunks`` (where the graph is cut) -> ``split`` (delegates and the graph around them) ->
``assemble`` (all programs in one file). ``delegate`` encodes one chunk; ``private`` holds every use
of an interface that the runtime's library does not promise to keep.
"""
