"""Labels of other tools: written, converted, and what a format cannot carry."""
