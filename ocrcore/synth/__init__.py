"""Synthetic text: fonts, texts, drawn words, and pages with exact character quads.

Everything here is a pure function of its arguments (including a seed and an index where randomness
is involved), runs on the host and does not import JAX.
"""
