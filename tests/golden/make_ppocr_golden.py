"""Makes ppocr_golden.npz with onnxruntime: logits of PP-OCRv6's small recognizer on two crops.

The logits are those of the first 96 classes; the classes that win are among all 18,710.

Command: PYTHONPATH=. python tests/golden/make_ppocr_golden.py (needs onnx, onnxruntime, rapidocr)
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime

from ocrcore.weights.named import find_weights


def main() -> None:
    """Writes the file beside this one."""
    model = onnx.load(find_weights("ppocrv6_small"))
    # The graph ends with a softmax, whose input are the logits.
    logits = model.graph.node[-1].input[0]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(logits, onnx.TensorProto.FLOAT, None)
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = {}
    for index, (text, width) in enumerate([("Golden 42", 250), ("ocr", 96)]):
        image = np.full((48, width), 235, np.uint8)
        cv2.putText(image, text, (6, 35), cv2.FONT_HERSHEY_SIMPLEX, 1.1, 30, 2, cv2.LINE_AA)
        x = np.repeat(image[None, None], 3, 1).astype(np.float32) / 127.5 - 1
        (scores,) = session.run([logits], {"x": x})
        found[f"image{index}"] = image
        found[f"logits{index}"] = scores[0, :, :96]
        found[f"best{index}"] = scores[0].argmax(-1).astype(np.int32)
    np.savez_compressed(Path(__file__).with_name("ppocr_golden.npz"), **found)


if __name__ == "__main__":
    main()
