"""The runtime of all networks: devices, compile cache, memory, batched inference."""
