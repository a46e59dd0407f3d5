"""A frozen detector: classes, banks, scores, explanations. Data and arithmetic; nothing is asked or loaded here."""
