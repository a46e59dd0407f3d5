"""The learning engine: builds and streams ask the MLLM, read its answers and fill the banks of a detector.

engine              what both share: observe, ask, read, compose, fill; starts CLIP and the MLLM for a run
build, stream       when it happens: once, at the end of the pictures; with every batch
policy              which pictures and classes are asked about, and which texts a bank holds
questions, answers  the questions as requests, and one task each; what the answers say, and whether to trust them
scoring             lambda and threshold after the banks have changed; scores of a batch
state               what has been learned, as one immutable value
initial_detector    stage 1, before the first picture
pictures            where pictures come from, and their features
report              what happened; run_observer: who is told while it does
preflight           what is checked before anything costs time; imports no torch
detector_folder, saved_state, changed_settings: a detector on disk, and under other settings
"""
