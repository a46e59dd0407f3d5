"""Baselines of the field on the same features as ANTS, each with its formula and source.

=============== ======================== ======================================== ==================
name            class                    ID score (**higher means more ID**)      requires
=============== ======================== ======================================== ==================
``mcm``         `frozen.Mcm`             highest softmax over the ID classes      ID classes
``max-logit``   `frozen.MaxLogit`        highest cosine to an ID class            ID classes
``energy``      `frozen.Energy`          logsumexp of the ID logits               ID classes
``neglabel``    `frozen.NegLabel`        S_nl, negatives in groups                lexicon negatives
``neglabel-1``  `frozen.NegLabelOneGroup` the same in one softmax                 lexicon negatives
``eoe``         `frozen.Eoe`             best ID minus beta · best outlier label  an LLM's labels
``adaneg``      `adaneg.AdaNeg`          S_nl, and again against proxies from     lexicon negatives,
                                         the stream's own pictures                a stream
=============== ======================== ======================================== ==================

`registry` creates them by name from a `baseline.TextSpace`; `eoe_labels` asks an MLLM for EOE's labels. Compare scores
within one method only: their ranges differ.
"""
