"""Invalid arguments of `fastreid export`: command, words and part of the message."""

ONNX = ("--to", "onnx", "--output", "exported")
WEIGHTS = ("MODEL.WEIGHTS", "lines-mobilenetv2")
_EXPORTS = (
    (ONNX, "MODEL.WEIGHTS is empty; add MODEL.WEIGHTS"),
    (("--to", "onnx", *WEIGHTS), "--output"),
    (
        ("--to", "tensorrt", "--output", "exported", *WEIGHTS),
        "'tensorrt' is unknown. Available: onnx, torch-export, dir",
    ),
    ((*ONNX, "--opset", 11, *WEIGHTS), "--opset 11 is not supported; use 18 to 23"),
    ((*ONNX, "--num-drawings", 0, *WEIGHTS), "argument --num-drawings: '0' is invalid"),
    ((*ONNX, "--drawings", "absent", *WEIGHTS), "absent: no such file or folder"),
    ((*ONNX, "--card", "absent.yml", *WEIGHTS), "--card absent.yml: no such file"),
    (("--to", "onnx", "--output", "pages", *WEIGHTS), "--output pages: exists and is no exported network"),
    (("--to", "onnx", "--output", "tiny.yml", *WEIGHTS), "--output tiny.yml: is a file"),
    (("--to", "torch-export", "--output", "exported", "--scores", *WEIGHTS), "--scores is for --to onnx"),
    (("--to", "torch-export", "--output", "exported", "--precision", "int8", *WEIGHTS), "is for ONNX files"),
    (("--to", "torch-export", "--output", "exported", "--opset", 20, *WEIGHTS), "--opset is for --to onnx"),
    ((*ONNX, *WEIGHTS, "TEST.NETWORK_PRECISION", "bfloat16"), "--precision is that of the file"),
    ((*ONNX, *WEIGHTS, "MODEL.COMPILE", True), "MODEL.COMPILE True is for networks in torch"),
    (("--to", "dir", "--output", "exported", "--include-flip", *WEIGHTS), "--include-flip is for --to onnx"),
    ((*ONNX, *WEIGHTS, "TEST.SCALES", "[0.5, 1.0]"), "needs a file for several sizes; add --any-size"),
    ((*ONNX, *WEIGHTS, "TEST.RUNTIME", "onnxruntime"), "is no exported network"),
    ((*ONNX, *WEIGHTS, "TEST.RUNTIME", "tensorrt"), "it must be torch or onnxruntime"),
)
EXPORTS = tuple(("export", *case) for case in _EXPORTS)
