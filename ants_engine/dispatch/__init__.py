"""The async half: prompt templates, requests, the response store, and whatever stands between it and an MLLM."""
