"""A detector behind HTTP (``ants serve``), and the page of a run (``live``); the extra ``serve`` is needed.

``server`` runs ``app``, whose routes call ``service``; bodies come through ``inputs`` and ``json_reader``, scores from
``scorer`` or ``streams``, access from ``access``, limits from ``options`` and ``timed_protocol``.
"""
