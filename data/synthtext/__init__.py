"""SynthText for TensorFlow Datasets."""
