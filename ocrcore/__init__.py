"""The base of detector and recognizer: data, synthetic text, evaluation, training, weights."""
