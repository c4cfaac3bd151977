"""What training and service must agree on: the bundle format, the store, priors and seeded latents.

numpy, pydantic and the standard library only: no torch, no web stack, no onnxruntime.
"""
