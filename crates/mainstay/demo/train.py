"""Trains the three models of `mainstay demo` on scikit-learn's handwritten digits.

The demo wants one task served by three models of falling quality and cost, as in a shop where the
old model is kept as a second pool and a simple one lives inside the gateway:

  digits-forest.onnx    extremely randomised trees, the primary pool
  digits-boosting.onnx  a small gradient boosting, the older model in the second pool
  digits-logistic.onnx  a logistic regression, embedded in the gateway

A third of the rows is held out before training and written to `digits.csv` (label, then the 64
pixels): the demo plays them as traffic and scores the answers. Data: the test half of the UCI
"Optical Recognition of Handwritten Digits" set, as packaged by scikit-learn (`load_digits`).

Run: python -m venv VENV && VENV/bin/pip install -r requirements.txt && VENV/bin/python train.py
Everything is seeded: the same package versions give the same models, up to the last bits of the
weights (sums may be taken in another order).
"""

import pathlib

import numpy as np
import onnx
import onnxruntime
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent
HELD_OUT = 600
SEED = 7


def models():
    """Name and untrained model, best first."""
    yield "digits-forest", ExtraTreesClassifier(n_estimators=50, random_state=SEED)
    yield "digits-boosting", GradientBoostingClassifier(
        n_estimators=25, max_depth=3, subsample=0.5, random_state=SEED
    )
    yield "digits-logistic", make_pipeline(
        StandardScaler(), LogisticRegression(C=0.003, max_iter=2000, random_state=SEED)
    )


def export(model):
    """ONNX with input `x` and outputs `label` and `probabilities`; any number of rows."""
    proto = to_onnx(
        model,
        initial_types=[("x", FloatTensorType([None, 64]))],
        options={"zipmap": False},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    rename = dict(zip([o.name for o in proto.graph.output], ["label", "probabilities"]))
    for node in proto.graph.node:
        node.output[:] = [rename.get(name, name) for name in node.output]
        node.input[:] = [rename.get(name, name) for name in node.input]
        if node.op_type == "TreeEnsembleClassifier":
            drop_hit_rates(node)
            drop_zero_weights(node)
    for output in proto.graph.output:
        output.name = rename[output.name]
    proto.graph.name = "digits"
    onnx.checker.check_model(proto)
    return proto


def drop_hit_rates(node):
    """An optional hint to compilers, always 1 here."""
    kept = [a for a in node.attribute if a.name != "nodes_hitrates"]
    del node.attribute[:]
    node.attribute.extend(kept)


def drop_zero_weights(node):
    """A leaf that says nothing about a class need not be written: adding 0 changes no vote.

    Most leaves of a forest hold one class out of ten, so this is most of the file. The last
    weight of a leaf stays even if it is 0, for a leaf without any is refused by readers.
    """
    attributes = {a.name: a for a in node.attribute}
    weights = np.array(attributes["class_weights"].floats)
    leaves = list(zip(attributes["class_treeids"].ints, attributes["class_nodeids"].ints))
    kept = weights != 0
    told = {leaf for leaf, keep in zip(leaves, kept) if keep}
    for index, leaf in enumerate(leaves):
        if leaf not in told:
            kept[index] = True
            told.add(leaf)
    attributes["class_weights"].floats[:] = weights[kept].tolist()
    for name in ["class_ids", "class_treeids", "class_nodeids"]:
        ints = np.array(attributes[name].ints)
        attributes[name].ints[:] = ints[kept].tolist()


def accuracy(proto, x, y):
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    label, _ = session.run(["label", "probabilities"], {"x": x})
    return float((label == y).mean())


def main():
    digits = load_digits()
    x = digits.data.astype(np.float32)
    y = digits.target.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=HELD_OUT, random_state=SEED, stratify=y
    )
    for name, model in models():
        proto = export(model.fit(x_train, y_train))
        path = HERE / f"{name}.onnx"
        path.write_bytes(proto.SerializeToString())
        share = accuracy(proto, x_test, y_test)
        print(f"{name:16} {share:.4f} of {len(y_test)}  {path.stat().st_size / 1024:.0f} KiB")
    rows = np.column_stack([y_test, x_test.astype(np.int64)])
    header = ",".join(["label", *(f"p{i}" for i in range(64))])
    np.savetxt(HERE / "digits.csv", rows, fmt="%d", delimiter=",", header=header, comments="")


if __name__ == "__main__":
    main()
