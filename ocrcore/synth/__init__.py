"""Synthetic text: fonts, texts, drawn words and pages with exact character quads.

Everything here is a pure function of its arguments (a seed and an index where chance has a part),
runs on the host and imports no JAX.
"""
