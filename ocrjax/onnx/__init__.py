"""Export to ONNX, a check that the outputs match, and inference with ONNX Runtime."""
