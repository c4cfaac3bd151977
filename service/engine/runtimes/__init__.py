"""What runs a graph: onnxruntime on CPU and GPU, or TorchScript."""
