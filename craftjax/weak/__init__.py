"""Weak supervision: pseudo characters from word boxes."""
