"""The learning engine: builds and streams ask the MLLM, read its answers and fill the banks of a detector."""
