"""A pretrained encoder of audio beside the features: audio -> embeddings on the network's frames.

Source: docs/encoders.md.
"""
