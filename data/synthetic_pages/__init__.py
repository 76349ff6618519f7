"""Synthetic pages for TensorFlow Datasets."""
