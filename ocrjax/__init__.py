"""Train text detectors and recognizers in JAX, and read photos with them."""
