"""OCI names, registries, archives and image configs.

`reference` parses what people write, `manifest` reads what registries answer, `registry` is the client (pull and
push; `authentication` gets it in), `archive` pushes what `docker save` wrote, `layout` builds small images. What a
machine does with an image once it has it is the engine's. A call enters at `Reference.parse` and `Registry`.
"""
