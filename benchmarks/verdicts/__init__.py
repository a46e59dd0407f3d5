"""How well the score ranks, and what the questions cost: measured on genuine CLIP features with a simulated MLLM."""
