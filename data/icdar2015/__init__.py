"""ICDAR 2015 for TensorFlow Datasets."""
