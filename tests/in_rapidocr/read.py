"""Reads crops with RapidOCR where that is installed: read.py MODEL.onnx CROPS.npz OUT.json."""

import json
import sys

import numpy as np
from rapidocr import RapidOCR


def main(model: str, crops: str, out: str) -> None:
    """Writes the texts, and the version of RapidOCR; crops are BGR, one by one."""
    from importlib.metadata import version

    engine = RapidOCR(
        params={
            "Global.log_level": "error",
            # It would enlarge small pictures first; crops of pages come without that.
            "Global.use_preprocess_img": False,
            "Rec.model_path": model,
        }
    )
    texts = []
    with np.load(crops) as file:
        for index in range(len(file.files)):
            result = engine(file[f"crop{index}"], use_det=False, use_cls=False, use_rec=True)
            texts.append(result.txts[0])
    with open(out, "w", encoding="utf-8") as target:  # noqa: PTH123
        json.dump({"texts": texts, "rapidocr": version("rapidocr")}, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
