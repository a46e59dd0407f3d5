"""A detector behind HTTP: ``ants serve``, for which ``pip install "ants-engine[serve]"`` is needed."""
