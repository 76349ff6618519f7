"""crnnjax: the CRNN text recognizer in JAX."""
