"""Export networks to other runtimes: ONNX files, int8 and float16 variants, torch.export programs."""

__all__: list[str] = []
