"""The rate limiter.

`gate` admits calls, `congestion` finds concurrency (AIMD) and rate, `outage` is the circuit breaker, `budget` has the
limits that the user sets, `constants` is the table of tuned numbers.
"""
