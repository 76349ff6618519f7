"""Scores: matching of boxes, DetEval, statistics."""
