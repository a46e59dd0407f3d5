"""The paper as pure functions on tensors and texts: no I/O, no async, no globals, nothing else of the engine.

Source throughout: "ANTS: Adaptive Negative Textual Space Shaping for OOD Detection via Test-Time MLLM
Understanding and Reasoning", arXiv 2509.03951 (v4), CVPR 2026; equation numbers are the paper's. *Logits* are
cosines divided by the temperature tau. Every score is an ID score in [0, 1]: **higher means more in-distribution**.

======================= ====== ===============================================================
module                  stage  what
======================= ====== ===============================================================
`scoring`                      ID score of a picture against a bank of negatives
`masses`                       the partial sums that every score is made of
`grouping`              1      the same, averaged over groups of the bank
`neglabel`              1      initial negative labels out of a lexicon
`mining`                2      negative images out of the history
`adaptive_threshold`    2      the public code's threshold for them
`sentence`              3      one sentence out of an MLLM's answer
`similar_classes`       4      the ID classes that the history looks like
`labels`                5      look-alike names out of an MLLM's answer
`answer`                3, 5   why an answer is not used; what both readers share
`final_part`            3, 5   the part of it behind a model's reasoning
`refusal`               3, 5   whether it declines, sees no picture, or is an error in words
`list_items`            5      the items of a list, however it is laid out
`class_names`           3, 5   does a text name an ID class
`weighting`             6      lambda and the adaptive score
`pool`                         ours: the log-opinion pool of the banks
`verified`                     ours: pictures that the MLLM has verified, as prototypes
`spread`                       ours: which of the mined pictures to describe
`activation`                   the public code's activation-aware score
`threshold`                    where the unknown begins
`judge`                        the same, from an MLLM's answers about a sample
`empirical_null`               the same, from the scores alone
`conformal`                    the same, from pictures known to be ID; p-values, false discovery rate
======================= ====== ===============================================================
"""
