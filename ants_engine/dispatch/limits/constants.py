"""The tuned numbers of the rate limiter in one table, each with its unit and reason.

They were tuned against servers that count in fixed windows, sliding windows and token buckets, slow ones, ones that
refuse at random, and limits that drop or are lifted (``tests/unit/dispatch/limits/test_gate.py``).
"""

# Window: how many calls at once (AIMD, as in TCP).
WINDOW_START = 16
"""Calls at once at the start. Small servers take it; slow start doubles it every round trip."""
WINDOW_SHRINK = 0.7
"""Factor of the multiplicative decrease on overload. TCP's 0.5 gives away throughput where limits are steady."""
WINDOW_FIRST_HOLD, WINDOW_LONGEST_HOLD = 2.0, 80.0
"""Seconds without growth to a size that was refused; doubled when it is refused there again."""
WINDOW_REFUTED = 3
"""Calls answered at a higher concurrency that show a refusal is not about concurrency."""
WINDOW_REMEMBERED = 60.0
"""Seconds for which no refusal is then taken to be about concurrency."""

# Pace: how many calls a second (rate limit, found from refusals).
PACE_BELOW = 0.95
"""New rate as a share of the rate answered before the refusals: just below what the server takes."""
PACE_LEAST = 1 / 60
"""Calls a second. A server that takes fewer sends ``Retry-After``."""
PACE_MEASURED = 2.0
"""Seconds over which calls and answers are counted for the rate."""
PACE_NEAR = 0.97
"""Share of the refused rate up to which growth is fast."""
PACE_APPROACH = 4.0
"""Seconds in which about two thirds of the way there are covered."""
PACE_GROWTH, PACE_PATIENCE = 0.01, 8.0
"""Share by which the rate grows in a second beyond that; doubled for every `PACE_PATIENCE` seconds without a refusal,
so that a lifted limit is noticed."""
PACE_SEARCH = 0.4
"""Share by which the rate grows in a second before an even rate was first refused: the first refusals may be about a
burst and say little."""
PACE_FIRST = 1.0
"""Seconds after the first bound in which further refusals are ignored: they belong to the same burst."""
PACE_SETTLE = 0.2
"""Seconds without a call after a refusal that the rate does not explain."""
PACE_JUDGED = 10.0
"""Seconds over which refusals are compared with calls."""
PACE_TOLERATED, PACE_EVIDENCE = 0.025, 3
"""Refusals that say nothing about the rate: up to this share of the calls, or fewer than this many."""
PACE_VAGUE = 0.1
"""The same share for refusals that may mean something else (503)."""
PACE_SLOW, PACE_CHANCE, PACE_ENOUGH, PACE_HOPELESS = 0.8, 0.02, 20, 0.35
"""Below `PACE_SLOW` of the best answered rate, a share of refusals from `PACE_CHANCE` to `PACE_HOPELESS` over
`PACE_ENOUGH` calls comes from other clients of the server. Slowing down for it would end at a standstill, so it is
tolerated."""
PACE_FORGET = 30.0
"""Seconds after which the best answered rate counts half."""
PACE_FALLEN = 4.0
"""A drop of the answered rate by this factor means that the server's limit has dropped."""
PACE_DEAR = 2.0
"""Seconds of ``Retry-After`` from which on a refusal is expensive and always counts."""
PACE_HOLD = 10.0
"""The rate stays below what was refused for this many times the ``Retry-After``: expensive limits are probed rarely."""

# Gate: what holds for all calls.
GATE_MEANT_FOR_ALL = 2.0
"""Seconds of ``Retry-After`` beyond which every request waits; a shorter one concerns the refused request alone."""
GATE_LONGEST_HOLD = 60.0
"""Seconds of a ``Retry-After`` that count for `PACE_HOLD`."""
QUOTA_SPAN = 60.0
"""Seconds. The user sets limits per minute."""
QUOTA_REQUESTS_AT_ONCE, QUOTA_TOKENS_AT_ONCE = 1.0, 10.0
"""Seconds' worth of a limit per minute that may be used in one burst: servers also count by the second."""

# Outage: a circuit breaker for a server that is down.
OUTAGE_FIRST_CONTACT = 15.0
"""Seconds that a server which has never answered in this run is waited for: a wrong port is not an outage."""
OUTAGE_EVIDENCE = 3
"""Consecutive calls that find the server down, one of them sent after the first had failed. One refused connection is
enough: no question can cause it."""
OUTAGE_FIRST_PROBE, OUTAGE_LONGEST_PROBE = 0.5, 3.0
"""Seconds before the first probe and at most between two; exponential backoff with jitter."""

# Estimate of tokens, before a request is asked.
CHARACTERS_PER_TOKEN = 3
"""Lower than in English prose, so that the estimate is rather too high."""
PICTURE_TOKENS = 1500
"""For a picture, until an answer has reported its tokens."""
OVERHEAD_TOKENS = 50
"""For the chat template."""
