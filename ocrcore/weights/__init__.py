"""Weight files: `.pth` without PyTorch, safetensors, named weights."""
