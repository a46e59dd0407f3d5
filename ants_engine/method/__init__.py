"""The paper as pure functions on tensors and texts: no I/O, no async, no globals, nothing else of the engine.

Source throughout: "ANTS: Adaptive Negative Textual Space Shaping for OOD Detection via Test-Time MLLM
Understanding and Reasoning", arXiv 2509.03951 (v4), CVPR 2026; equation numbers are the paper's. *Logits* are
cosines divided by the temperature tau. Every score is an ID score in [0, 1]: **higher means more in-distribution**.

=============== ====== ===============================================================
module          stage  what
=============== ====== ===============================================================
`masses`               the partial sums that every score is made of
`scoring`       6      ID score against a bank; lambda; the public code's activation
`neglabel`      1      negative labels out of a lexicon; the score over groups of them
`mining`        2, 4   negative images out of the history; the classes it looks like
`answer`        3, 5   an answer cleaned, why it is not used, one sentence out of it
`labels`        5      look-alike names out of an answer
`list_items`    5      the items of a list, however it is laid out
`final_part`    3, 5   the part of an answer behind a model's reasoning
`refusal`       3, 5   whether it declines, sees no picture, or is an error in words
`class_names`   3, 5   does a text name an ID class
`verify`               ours: an answer to verify-or-describe
`yes_no`               ours: a yes or a no at the head of an answer
`pool`                 ours: the log-opinion pool of the banks
`verified`             ours: pictures that the MLLM has verified, as prototypes
`spread`               ours: which of the mined pictures to describe
`threshold`            where the unknown begins: Otsu
`judge`                the same, from an MLLM's answers about a sample
`empirical_null`       the same, from the scores alone
`conformal`            the same, from pictures known to be ID; p-values
`metrics`              AUROC, FPR95 in both conventions, accuracy
=============== ====== ===============================================================
"""
