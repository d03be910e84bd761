"""Graphs that hold one operator in every mode, for what exporters seldom or never write.

Each graph has many nodes of one operator on the same input, so that one file covers all modes.
Attribute values are random; onnxruntime says what the answer is.
"""

import numpy as np
from onnx import TensorProto, helper

ROWS = 68
FEATURES = 4
ML = "ai.onnx.ml"
MODELS = {}


def rank(name):
    """Labels have one dimension, one-hot rows three, all else two: none of them of known size."""
    return 1 if name.startswith("label") else 3 if name.startswith("hot") else 2


def model(name, nodes, inputs, outputs, version=3):
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(n, t, s) for n, t, s in inputs],
        [helper.make_tensor_value_info(n, t, [None] * rank(n)) for n, t in outputs],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, version)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def rows(random, missing=False):
    x = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    # Values that stand exactly on thresholds.
    x[::5] = np.round(x[::5])
    if missing:
        x.ravel()[::6] = np.nan
    return x


class Trees:
    """Random complete trees of depth 3 as the attributes of a tree operator."""

    def __init__(self, random, count, modes):
        self.random = random
        self.attributes = {
            key: []
            for key in [
                "nodes_treeids",
                "nodes_nodeids",
                "nodes_featureids",
                "nodes_values",
                "nodes_modes",
                "nodes_truenodeids",
                "nodes_falsenodeids",
                "nodes_missing_value_tracks_true",
            ]
        }
        self.leaves = []
        for tree in range(count):
            self.grow(tree, modes)

    def grow(self, tree, modes):
        for node in range(15):
            leaf = node >= 7
            self.leaves += [(tree, node)] if leaf else []
            value = float(np.round(self.random.normal()))
            self.add(
                nodes_treeids=tree,
                nodes_nodeids=node,
                nodes_featureids=0 if leaf else int(self.random.integers(FEATURES)),
                nodes_values=0.0 if leaf else value,
                nodes_modes="LEAF" if leaf else str(self.random.choice(modes)),
                nodes_truenodeids=0 if leaf else 2 * node + 1,
                nodes_falsenodeids=0 if leaf else 2 * node + 2,
                nodes_missing_value_tracks_true=int(not leaf and self.random.integers(2)),
            )

    def add(self, **values):
        for key, value in values.items():
            self.attributes[key].append(value)

    def weights(self, prefix, targets, low, high):
        """Attributes of the leaves: for each of `targets` one weight in [low, high)."""
        pairs = [(leaf, target) for leaf in self.leaves for target in targets]
        return {
            f"{prefix}_treeids": [tree for (tree, _), _ in pairs],
            f"{prefix}_nodeids": [node for (_, node), _ in pairs],
            f"{prefix}_ids": [target for _, target in pairs],
            f"{prefix}_weights": self.random.uniform(low, high, len(pairs)).tolist(),
        }


ALL_MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
TRANSFORMS = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"]


def tree_regressors():
    random = np.random.default_rng(11)
    nodes, outputs = [], []
    for modes in [[mode] for mode in ALL_MODES] + [ALL_MODES]:
        for aggregate in ["SUM", "AVERAGE", "MIN", "MAX"]:
            for targets in [1, 3]:
                name = f"y{len(nodes)}"
                trees = Trees(random, 3, modes)
                base = random.normal(size=targets).tolist() if len(nodes) % 3 else []
                nodes.append(
                    helper.make_node(
                        "TreeEnsembleRegressor",
                        ["x"],
                        [name],
                        domain=ML,
                        n_targets=targets,
                        aggregate_function=aggregate,
                        **({"base_values": base} if base else {}),
                        **trees.attributes,
                        **trees.weights("target", range(targets), -1, 1),
                    )
                )
                outputs.append((name, TensorProto.FLOAT))
    inputs = [("x", TensorProto.FLOAT, [None, FEATURES])]
    return model("regressors", nodes, inputs, outputs), {"x": rows(random, missing=True)}


def tree_classifiers():
    random = np.random.default_rng(12)
    nodes, outputs = [], []
    # Labels, the classes that leaves speak of, and the range of weights.
    kinds = [
        ([0, 1], [0], (0.0, 0.3)),
        ([0, 1], [0], (-1.0, 1.0)),
        ([0, 1], [1], (0.0, 0.3)),
        ([0, 1], [1], (-1.0, 1.0)),
        ([0, 1], [0, 1], (0.0, 0.3)),
        ([0, 1], [0, 1], (-1.0, 1.0)),
        ([5, 7, 3], [0, 1, 2], (0.0, 0.3)),
        ([5, 7, 3], [0, 2], (-1.0, 1.0)),
        (["a", "b"], [0], (-1.0, 1.0)),
        (["a", "b", "c"], [0, 1, 2], (-1.0, 1.0)),
    ]
    for labels, classes, (low, high) in kinds:
        for transform in TRANSFORMS:
            if transform == "PROBIT" and (len(classes) == 1 or low < 0):
                # Outside (0, 1) PROBIT has no value, and of one score it leaves the other unset.
                continue
            for bases in sorted({0, 1 if len(labels) == 2 else 0, len(labels)}):
                trees = Trees(random, 3, ["BRANCH_LEQ"])
                base = random.uniform(low / 2, high / 2, bases).tolist()
                index = len(nodes)
                strings = isinstance(labels[0], str)
                named = "classlabels_strings" if strings else "classlabels_int64s"
                nodes.append(
                    helper.make_node(
                        "TreeEnsembleClassifier",
                        ["x"],
                        [f"label{index}", f"scores{index}"],
                        domain=ML,
                        post_transform=transform,
                        **{named: labels},
                        **({"base_values": base} if base else {}),
                        **trees.attributes,
                        **trees.weights("class", classes, low, high),
                    )
                )
                kind = TensorProto.STRING if strings else TensorProto.INT64
                outputs += [(f"label{index}", kind), (f"scores{index}", TensorProto.FLOAT)]
    inputs = [("x", TensorProto.FLOAT, [None, FEATURES])]
    return model("classifiers", nodes, inputs, outputs), {"x": rows(random)}


def encoders():
    random = np.random.default_rng(13)
    columns = {
        "strings": random.choice(["a", "b", "c", ""], (ROWS, 2)).astype(object),
        "int64s": random.integers(0, 4, (ROWS, 2)).astype(np.int64),
        "floats": random.choice([0.0, 0.5, 2.0, np.nan, 9.0], (ROWS, 2)).astype(np.float32),
    }
    kinds = {"strings": TensorProto.STRING, "int64s": TensorProto.INT64, "floats": TensorProto.FLOAT}
    keys = {"strings": ["a", "b", ""], "int64s": [1, 2, 3], "floats": [0.0, 0.5, float("nan")]}
    values = {"strings": ["x", "y", "z"], "int64s": [10, 20, 30], "floats": [0.25, -1.0, 3.0]}
    defaults = {
        "strings": {"default_string": "none"},
        "int64s": {"default_int64": 99},
        "floats": {"default_float": 7.5},
    }
    nodes, outputs = [], []

    def add(operator, source, result, **attributes):
        name = f"{'hot' if operator == 'OneHotEncoder' else 'y'}{len(nodes)}"
        nodes.append(helper.make_node(operator, [source], [name], domain=ML, **attributes))
        outputs.append((name, kinds[result]))

    for source in kinds:
        for result in kinds:
            table = {f"keys_{source}": keys[source], f"values_{result}": values[result]}
            add("LabelEncoder", source, result, **table)
            add("LabelEncoder", source, result, **table, **defaults[result])
    cats = {"cats_strings": ["a", "b"], "cats_int64s": [1, 3]}
    add("CategoryMapper", "strings", "int64s", **cats)
    add("CategoryMapper", "int64s", "strings", **cats, default_string="none")
    add("OneHotEncoder", "strings", "floats", cats_strings=["b", "a"])
    add("OneHotEncoder", "int64s", "floats", cats_int64s=[3, 1, 0])
    add("Imputer", "int64s", "int64s", imputed_value_int64s=[7], replaced_value_int64=2)
    add("Imputer", "floats", "floats", imputed_value_floats=[7.0, 8.0], replaced_value_float=0.5)
    nan = float("nan")
    add("Imputer", "floats", "floats", imputed_value_floats=[7.0], replaced_value_float=nan)
    # onnxruntime refuses to binarise NaN: this takes what the Imputer before it gives.
    add("Binarizer", outputs[-1][0], "floats", threshold=0.5)
    add("Scaler", "floats", "floats", offset=[1.0, -2.0], scale=[0.5, 3.0])
    add("Scaler", "int64s", "floats", offset=[1.0], scale=[0.5])
    nodes.append(
        helper.make_node(
            "FeatureVectorizer", ["floats", "floats"], ["f"], domain=ML, inputdimensions=[2, 2]
        )
    )
    outputs.append(("f", TensorProto.FLOAT))
    inputs = [(name, kind, [None, 2]) for name, kind in kinds.items()]
    return model("encoders", nodes, inputs, outputs), columns


def tensor_encoders():
    """LabelEncoder as it is since version 4: tables in tensors, and NaN can be a key."""
    random = np.random.default_rng(16)
    nan = float("nan")
    columns = {
        "strings": random.choice(["a", "b", "c"], (ROWS, 2)).astype(object),
        "int64s": random.integers(0, 4, (ROWS, 2)).astype(np.int64),
        "floats": random.choice([0.0, -0.0, 0.5, nan, 9.0], (ROWS, 2)).astype(np.float32),
    }
    kinds = {"strings": TensorProto.STRING, "int64s": TensorProto.INT64, "floats": TensorProto.FLOAT}
    keys = {"strings": ["a", "b"], "int64s": [1, 2], "floats": [0.0, nan]}
    values = {"strings": ["x", "y"], "int64s": [10, 20], "floats": [0.25, -1.0]}
    defaults = {"strings": ["none"], "int64s": [99], "floats": [7.5]}
    nodes, outputs = [], []
    for source, source_kind in kinds.items():
        for result, kind in kinds.items():
            name = f"y{len(nodes)}"
            table = {
                "keys_tensor": helper.make_tensor("keys", source_kind, [2], keys[source]),
                "values_tensor": helper.make_tensor("values", kind, [2], values[result]),
                "default_tensor": helper.make_tensor("default", kind, [1], defaults[result]),
            }
            nodes.append(helper.make_node("LabelEncoder", [source], [name], domain=ML, **table))
            outputs.append((name, kind))
    inputs = [(name, kind, [None, 2]) for name, kind in kinds.items()]
    return model("encoders", nodes, inputs, outputs, version=4), columns


def machines():
    random = np.random.default_rng(14)
    nodes, outputs = [], []
    kernels = {
        "LINEAR": [0.0, 0.0, 0.0],
        "POLY": [0.5, 1.0, 2.0],
        "RBF": [0.3, 0.0, 0.0],
        "SIGMOID": [0.2, 0.1, 0.0],
    }

    def numbers(*shape):
        return random.normal(size=int(np.prod(shape))).astype(np.float32).tolist()

    def add(operator, results, kinds, **attributes):
        names = [f"{result}{len(nodes)}" for result in results]
        nodes.append(helper.make_node(operator, ["x"], names, domain=ML, **attributes))
        outputs.extend(zip(names, kinds))

    for kernel, parameters in kernels.items():
        common = {"kernel_type": kernel, "kernel_params": parameters}
        for one_class in [0, 1]:
            add(
                "SVMRegressor",
                ["y"],
                [TensorProto.FLOAT],
                n_supports=5,
                one_class=one_class,
                support_vectors=numbers(5, FEATURES),
                coefficients=numbers(5),
                rho=[0.1],
                **common,
            )
        for classes in [2, 3]:
            pairs = classes * (classes - 1) // 2
            for platt in [False, True]:
                for transform in ["NONE", "SOFTMAX"]:
                    count = 3 * classes
                    given = {"prob_a": numbers(pairs), "prob_b": numbers(pairs)} if platt else {}
                    add(
                        "SVMClassifier",
                        ["label", "scores"],
                        [TensorProto.INT64, TensorProto.FLOAT],
                        classlabels_ints=list(range(4, 4 + classes)),
                        vectors_per_class=[3] * classes,
                        support_vectors=numbers(count, FEATURES),
                        coefficients=numbers(classes - 1, count),
                        rho=numbers(pairs),
                        post_transform=transform,
                        **given,
                        **common,
                    )
    linear = {"kernel_type": "LINEAR", "kernel_params": [0.0, 0.0, 0.0], "rho": [0.2]}
    add("SVMRegressor", ["y"], [TensorProto.FLOAT], coefficients=numbers(FEATURES), **linear)
    for classes in [2, 3]:
        add(
            "SVMClassifier",
            ["label", "scores"],
            [TensorProto.STRING, TensorProto.FLOAT],
            classlabels_strings=["a", "b", "c"][:classes],
            coefficients=numbers(classes, FEATURES),
            **linear,
        )
    inputs = [("x", TensorProto.FLOAT, [None, FEATURES])]
    return model("machines", nodes, inputs, outputs), {"x": rows(random)}


def linear():
    random = np.random.default_rng(15)
    nodes, outputs = [], []
    for labels, count in [([3, 4], 1), ([3, 4], 2), ([3, 4, 5], 3), (["a", "b", "c"], 3)]:
        for transform in ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]:
            index = len(nodes)
            strings = isinstance(labels[0], str)
            named = "classlabels_strings" if strings else "classlabels_ints"
            nodes.append(
                helper.make_node(
                    "LinearClassifier",
                    ["x"],
                    [f"label{index}", f"scores{index}"],
                    domain=ML,
                    post_transform=transform,
                    coefficients=(random.normal(size=count * FEATURES) * 9).tolist(),
                    intercepts=random.normal(size=count).tolist(),
                    **{named: labels},
                )
            )
            kind = TensorProto.STRING if strings else TensorProto.INT64
            outputs += [(f"label{index}", kind), (f"scores{index}", TensorProto.FLOAT)]
    for norm in ["MAX", "L1", "L2"]:
        nodes.append(helper.make_node("Normalizer", ["x"], [norm], domain=ML, norm=norm))
        outputs.append((norm, TensorProto.FLOAT))
    x = rows(random)
    x[3] = 0.0
    inputs = [("x", TensorProto.FLOAT, [None, FEATURES])]
    return model("linear", nodes, inputs, outputs), {"x": x}


MODELS = {
    "synthetic-tree-regressors": tree_regressors,
    "synthetic-tree-classifiers": tree_classifiers,
    "synthetic-encoders": encoders,
    "synthetic-tensor-encoders": tensor_encoders,
    "synthetic-machines": machines,
    "synthetic-linear": linear,
}
