"""Asking an MLLM: requests, the layers around a backend, and answers on disk.

`request` has the values; `coordinator` runs requests through single flight and the layers that `pipeline` assembles:
`recording` or `replay`, `retry`, `limits` (the rate limiter), `ask` (the backend). `storage` keeps answers, `runs`
records what happened, `prompt_template` and `backend_registry` find templates and backends.
"""
