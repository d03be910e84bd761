"""Exports the models of the conformance suite and records what Python's onnxruntime answers.

Each model becomes `models/NAME.onnx` and `models/NAME.json`; the latter holds calls with 1, 3 and
64 rows as `{"calls": [{"inputs": [tensor], "outputs": [tensor]}]}`, a tensor as in the Open
Inference Protocol's JSON, with null for NaN. Two kinds:

- `exported()`: what scikit-learn, LightGBM and XGBoost users export, on scikit-learn's data;
- `synthetic.py`: operators in every mode that no exporter writes by itself, with random numbers.

Run: python -m venv VENV && VENV/bin/pip install -r requirements.txt && VENV/bin/python train.py
Training data is float32: thresholds between doubles would move rows to the other side of a
branch. HistGradientBoosting exports only with protobuf below 6.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import onnx
import onnxruntime

import exported
import synthetic

MODELS = pathlib.Path(__file__).parent / "models"
BATCHES = [1, 3, 64]
NAMES = {
    "tensor(float)": ("FP32", np.float32),
    "tensor(double)": ("FP64", np.float64),
    "tensor(int64)": ("INT64", np.int64),
    "tensor(string)": ("BYTES", object),
    "tensor(bool)": ("BOOL", bool),
}


def element(value):
    if isinstance(value, (float, np.floating)):
        # The shortest text that reads back as the same number.
        return None if np.isnan(value) else float(str(value))
    return value.item() if isinstance(value, np.generic) else value


def tensor(name, kind, array):
    datatype, dtype = NAMES[kind]
    array = np.asarray(array).astype(dtype)
    data = [element(value) for value in array.ravel()]
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": data}


def plain(value):
    """ZipMap's list of dictionaries as the matrix it was made from."""
    if isinstance(value, list):
        return np.array([list(row.values()) for row in value], dtype=np.float32)
    return value


def record(proto, columns):
    """Calls with consecutive slices of `columns`, a dictionary from input to rows."""
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    calls, start = [], 0
    for count in BATCHES:
        rows = {name: array[start : start + count] for name, array in columns.items()}
        start += count
        answers = session.run(None, rows)
        inputs = [tensor(i.name, i.type, rows[i.name]) for i in session.get_inputs()]
        outputs = [
            tensor(o.name, o.type if o.type in NAMES else "tensor(float)", plain(answer))
            for o, answer in zip(session.get_outputs(), answers)
        ]
        assert all(len(t["data"]) for t in inputs)
        calls.append({"inputs": inputs, "outputs": outputs})
    return {"calls": calls}


def main():
    warnings.filterwarnings("ignore")
    MODELS.mkdir(exist_ok=True)
    wanted = sys.argv[1:]
    for name, make in [*exported.MODELS.items(), *synthetic.MODELS.items()]:
        if wanted and name not in wanted:
            continue
        proto, columns = make()
        del proto.metadata_props[:]
        onnx.checker.check_model(proto)
        text = json.dumps(record(proto, columns), separators=(",", ":"))
        path = MODELS / f"{name}.onnx"
        path.write_bytes(proto.SerializeToString())
        path.with_suffix(".json").write_text(text + "\n")
        print(f"{name:40} {path.stat().st_size / 1024:6.1f} KiB {len(text) / 1024:6.1f} KiB")


if __name__ == "__main__":
    main()
