"""One HTML page about a detector or a run: which pictures were unknown, which texts caught them, where the line lies.

``assemble`` makes a ``document`` (plain data) of the pictures (``seen``), their labels (``truth``), the negative texts
(``texts``, ``projection``), ``facts`` and ``thumbnails``; ``page`` and ``figures`` make HTML and SVG of it.
``live_state`` is the content of the page of a run under way, which ``ants_engine.serve.live`` serves.
"""
