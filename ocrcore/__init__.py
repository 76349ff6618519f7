"""What detector and recognizer stand on: data, synthetic text, evaluation, training, weights."""
