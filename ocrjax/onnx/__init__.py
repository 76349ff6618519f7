"""Export to ONNX, the proof that it gives the same, and what runs it."""
